"""What a run keeps of a fitted model beside its metrics: intervals, slices, explanations, honest beside leaky."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import mlflow
from matplotlib.figure import Figure
from pyspark.ml import PipelineModel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from evaluation import comparison_plots, field_plots, slice_plots
from evaluation.bootstrap import Intervals, intervals, paired_differences
from evaluation.dependence import dependence_report
from evaluation.importance import importance_by_field
from evaluation.permutation import permutation_importance
from evaluation.scored_sample import collect_scored, score_with
from evaluation.scorers import Scorer
from evaluation.slices import slice_report
from features.contract import Contract, LeadField
from features.splits import GROUP
from features.stages import (
    CALIBRATED,
    GRADE,
    UNCALIBRATED,
    encoder_of,
    forest_of,
    params_of,
    pipeline,
    positive_probability,
    scored_columns,
)
from pipelines.datasets import Prepared
from pipelines.tracking import log_figures

SCORE, LEAKY, HONEST = "probability", "leaky", "honest"
TOP_CURVES = 6
# What depends on the order of the scores alone, and so is the same before and after calibration.
BY_ORDER = ("auc_roc", "auc_pr", "lift_at_10", "lift_at_20")


def log_evidence(
    contract: Contract,
    data: Prepared,
    model: PipelineModel,
    fields: Sequence[LeadField],
    scored: DataFrame,
    subject: str,
    explain: Scorer | None = None,
) -> dict[str, float]:
    """Log to the active run what a model's metrics rest on; further metrics by name, for the caller to log.

    `scored` are the test leads with the columns of `evidence_columns`, cached. Leaves intervals.json, slices.json and
    their plots; with `explain` (the model as a Scorer) importance.json and dependence.json; and honest.json where the
    contract declares some of `fields` late. The seconds of each part are among the metrics.
    """
    metrics: dict[str, float] = {}
    with _timed(metrics, "intervals"):
        metrics |= _log_intervals(contract, scored)
    with _timed(metrics, "slices"):
        metrics |= _log_slices(contract, scored, subject)
    if explain is not None:
        with _timed(metrics, "explain"):
            _log_explanations(contract, data, model, fields, subject, explain)
    late = contract.late_fields([f.name for f in fields])
    if late and len(late) < len(fields):
        with _timed(metrics, "honest"):
            metrics |= _log_honest(contract, data, model, fields, late, subject)
    return metrics


@contextmanager
def _timed(metrics: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    metrics[f"{name}_seconds"] = time.monotonic() - start


def evidence_columns(scored: DataFrame, contract: Contract) -> list[Column]:
    """What evidence reads of a model's output: as the metrics do (features.stages), and group, slices and grade.

    Where the model calibrates, the forest's own probability is there as well, under `uncalibrated`.
    """
    kept = [GROUP, *(f.name for f in contract.sliced), *([GRADE] if GRADE in scored.columns else [])]
    before = [positive_probability().alias(UNCALIBRATED)] if CALIBRATED in scored.columns else []
    return [*scored_columns(scored, contract.label.name), *(F.col(name) for name in kept), *before]


def before_calibration(scored: DataFrame) -> str | None:
    """The column of the forest's own probability among those of `evidence_columns`; None without a calibration."""
    return UNCALIBRATED if UNCALIBRATED in scored.columns else None


def _log_intervals(contract: Contract, scored: DataFrame) -> dict[str, float]:
    found = intervals(collect_scored(scored, contract.label.name, [SCORE]), SCORE)
    mlflow.log_dict(found.as_dict(), "intervals.json")
    lifts = {f"test_{name}": i.value for name, i in found.metrics.items() if name.startswith("lift")}
    return found.flat("test_") | lifts


def _log_slices(contract: Contract, scored: DataFrame, subject: str) -> dict[str, float]:
    report = slice_report(scored, contract.label.name, SCORE, contract.sliced, before_calibration(scored))
    if report is None:
        return {}
    mlflow.log_dict(report.as_dict(), "slices.json")
    figures: dict[str, Figure] = {f"slices_{f}": slice_plots.slices(report, f, subject) for f in report.fields}
    graded = [f for f in report.fields if any(s.grades for s in report.of(f))]
    figures |= {f"slices_{f}_grades": slice_plots.grades(report, f, subject) for f in graded}
    log_figures(figures)
    worst = report.worst_ordered
    return {"test_worst_slice_auc_roc": worst.auc.value} if worst and worst.auc else {}


def _log_explanations(
    contract: Contract,
    data: Prepared,
    model: PipelineModel,
    fields: Sequence[LeadField],
    subject: str,
    score: Scorer,
) -> None:
    shares = importance_by_field(model, encoder_of(model).transform(data.train))
    importance = permutation_importance(score, data.test, fields, contract.label.name, shares)
    mlflow.log_dict(importance.as_dict(), "importance.json")
    top = [f.field for f in importance.fields[:TOP_CURVES]]
    curves = dependence_report(score, data.test, fields, top)
    mlflow.log_dict(curves.as_dict(), "dependence.json")
    log_figures(field_plots.explanations(importance, curves, subject))


def _log_honest(
    contract: Contract,
    data: Prepared,
    model: PipelineModel,
    fields: Sequence[LeadField],
    late: Sequence[str],
    subject: str,
) -> dict[str, float]:
    """The same forest without the fields that are known too late, on the same test leads: what would be left.

    Both sides are forests before calibration, so only how they order leads is told: the areas and the lifts. The
    Brier score or log loss of such a forest beside those of the served, calibrated model would compare the
    calibrations.
    """
    label, honest_fields = contract.label.name, [f for f in fields if f.name not in late]
    train = data.train.cache()
    try:
        honest = pipeline(honest_fields, params_of(forest_of(model)), label).fit(train)
    finally:
        train.unpersist()
    columns = dict.fromkeys([label, GROUP, *(f.name for f in fields)])
    scored = score_with({LEAKY: model, HONEST: honest}, data.test.select(*columns)).cache()
    try:
        sample = collect_scored(scored, label, [LEAKY, HONEST])
    finally:
        scored.unpersist()
    sides = {
        "with the late fields": _of_order(intervals(sample, LEAKY)),
        "without them (honest)": _of_order(intervals(sample, HONEST)),
    }
    difference = _of_order(paired_differences(sample, HONEST, LEAKY))
    told = {"late_fields": list(late), "sides": {name: side.as_dict() for name, side in sides.items()}}
    mlflow.log_dict({**told, "honest_less_leaky": difference.as_dict()}, "honest.json")
    picture = comparison_plots.compared(_named(sides, late), "What the late fields lend the model", subject)
    log_figures({"honest": picture})
    ends = sides["without them (honest)"]
    return {f"honest_{name}": i.value for name, i in ends.metrics.items()} | ends.flat("honest_")


def _of_order(found: Intervals) -> Intervals:
    return replace(found, metrics={name: found.metrics[name] for name in BY_ORDER})


def _named(sides: Mapping[str, Intervals], late: Sequence[str]) -> dict[str, Intervals]:
    leaky, honest = sides.items()
    return {f"with {', '.join(late)}": leaky[1], "without (honest)": honest[1]}
