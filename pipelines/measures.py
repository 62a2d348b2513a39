"""What is measured of a fitted model's test leads before any of it is drawn or logged: Spark's jobs, in one place."""

import time
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from evaluation.bootstrap import Intervals, intervals
from evaluation.curves import ScoreBins
from evaluation.grades import GradeTable, grade_table
from evaluation.metrics import evaluate, score_bins
from evaluation.scored_sample import collect_scored
from evaluation.slices import SliceReport, slice_report
from features.contract import Contract
from features.splits import GROUP
from features.stages import CALIBRATED, GRADE, UNCALIBRATED, positive_probability, scored_columns

SCORE = "probability"


@dataclass(frozen=True)
class Measured:
    """What was found of the test leads; what the model or the contract lacks is None.

    Metrics by name, histograms of the served score and of the forest's own before calibration, grades, and what is
    chance in them: intervals and slices.
    """

    metrics: dict[str, float]
    bins: ScoreBins
    before: ScoreBins | None
    grades: GradeTable | None
    intervals: Intervals
    slices: SliceReport | None
    seconds: float


def measure(scored: DataFrame, contract: Contract) -> Measured:
    """Measure scored test leads: the columns of `evidence_columns`, cached."""
    start, label = time.monotonic(), contract.label.name
    before = UNCALIBRATED if UNCALIBRATED in scored.columns else None
    return Measured(
        evaluate(scored, label),
        score_bins(scored, label),
        score_bins(scored, label, before) if before else None,
        grade_table(scored, label, SCORE, before) if GRADE in scored.columns else None,
        intervals(collect_scored(scored, label, [SCORE]), SCORE),
        slice_report(scored, label, SCORE, contract.sliced, before),
        time.monotonic() - start,
    )


def evidence_columns(scored: DataFrame, contract: Contract) -> list[Column]:
    """What evidence reads of a model's output: as the metrics do (features.stages), and group, slices and grade.

    Where the model calibrates, the forest's own probability is there as well, under `uncalibrated`.
    """
    kept = [GROUP, *(f.name for f in contract.sliced), *([GRADE] if GRADE in scored.columns else [])]
    before = [positive_probability().alias(UNCALIBRATED)] if CALIBRATED in scored.columns else []
    return [*scored_columns(scored, contract.label.name), *(F.col(name) for name in kept), *before]
