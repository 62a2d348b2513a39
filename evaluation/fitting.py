"""Fitting what is served: a forest on all train leads, calibrated and graded by scores of leads it has not seen."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from pyspark import inheritable_thread_target
from pyspark.ml import PipelineModel, Transformer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.grades import GradeRule, grade_cuts
from evaluation.metrics import score_bins
from evaluation.search import FOLD, Encoded, refit
from features.calibration import centered_isotonic
from features.grading import GradeCuts, grade_stages
from features.splits import AGE, GROUP
from features.stages import ForestParams, forest, joined, scored_columns

Calibrate = Literal["isotonic", "none"]
# Folds whose scores calibrate: more of them cost a forest each, and were no better on the real leads.
FOLDS = 3


@dataclass(frozen=True)
class Finish:
    """What is put behind a forest: `calibrate` its probability, and grade by `grades` (None: no grades)."""

    calibrate: Calibrate = "isotonic"
    grades: GradeRule | None = None
    parallelism: int = 2


@dataclass(frozen=True)
class Servable:
    """A fitted pipeline, its grades' cuts if it has any, and the seconds that its forest and the rest took."""

    model: PipelineModel
    cuts: GradeCuts | None
    fit_seconds: float
    calibration_seconds: float


def fit_servable(data: Encoded, params: ForestParams, finish: Finish) -> Servable:
    """Fit a forest on all encoded leads; calibrate and grade it by out-of-fold scores of the same leads.

    Grades need calibration: without it the model ends with its forest.
    """
    start = time.monotonic()
    fitted: list[Transformer] = [refit(data, params)]
    fit_seconds = time.monotonic() - start
    if finish.calibrate == "none":
        return Servable(joined(data.encoder, *fitted), None, fit_seconds, 0.0)
    start, cuts = time.monotonic(), None
    held_out = out_of_fold(data, params, finish.parallelism).cache()
    try:
        calibration = centered_isotonic(held_out, data.label)
        fitted.append(calibration)
        if finish.grades is not None:
            scored = calibration.transform(held_out.withColumn("prediction", F.lit(None).cast("double")))
            cuts = grade_cuts(score_bins(scored.select(*scored_columns(scored, data.label)), data.label), finish.grades)
            fitted += grade_stages(cuts)
    finally:
        held_out.unpersist()
    return Servable(joined(data.encoder, *fitted), cuts, fit_seconds, time.monotonic() - start)


def out_of_fold(data: Encoded, params: ForestParams, parallelism: int) -> DataFrame:
    """Label, group, age and `probability` (vector) of every encoded lead, by a forest fitted on the other folds.

    Leads that repeat each other share a fold, so none is scored by a forest that has seen its twin.
    """

    def score(fold: int) -> DataFrame:
        model = forest(params, data.label).fit(data.leads.where(F.col(FOLD) != fold))
        return model.transform(data.leads.where(F.col(FOLD) == fold)).select(data.label, GROUP, AGE, "probability")

    with ThreadPoolExecutor(parallelism) as pool:
        parts = pool.map(inheritable_thread_target(data.leads.sparkSession)(score), range(data.folds))
        return reduce(DataFrame.unionAll, parts)
