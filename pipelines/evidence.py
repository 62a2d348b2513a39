"""What a run keeps of a fitted model beside its metrics: intervals, slices, explanations, honest beside leaky."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import mlflow
from matplotlib.figure import Figure
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation import comparison_plots, field_plots, slice_plots
from evaluation.bootstrap import Intervals, intervals, paired_differences
from evaluation.dependence import dependence_report
from evaluation.importance import importance_by_field
from evaluation.permutation import permutation_importance
from evaluation.scored_sample import collect_scored, score_with
from evaluation.slices import slice_report
from features.contract import Contract, LeadField
from features.splits import GROUP
from features.stages import GRADE, encoder_of, forest_of, params_of, pipeline, served_probability
from pipelines.datasets import Prepared
from pipelines.tracking import log_figures

SCORE, HONEST = "__score", "honest"
TOP_CURVES, LARGE_H = 6, 0.1


def log_evidence(
    contract: Contract,
    data: Prepared,
    model: PipelineModel,
    fields: Sequence[LeadField],
    subject: str,
    explain: bool = True,
) -> dict[str, float]:
    """Log to the active run what a model's metrics rest on; further metrics by name, for the caller to log.

    Leaves intervals.json, slices.json and their plots; with `explain` importance.json and dependence.json; and
    honest.json where the contract declares some of `fields` late. The seconds of each part are among the metrics.
    """
    metrics: dict[str, float] = {}
    scored = _scored(contract, data.test, model).cache()
    try:
        with _timed(metrics, "intervals"):
            metrics |= _log_intervals(contract, scored)
        with _timed(metrics, "slices"):
            metrics |= _log_slices(contract, scored, subject)
    finally:
        scored.unpersist()
    if explain:
        with _timed(metrics, "explain"):
            _log_explanations(contract, data, model, fields, subject)
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


def _scored(contract: Contract, leads: DataFrame, model: PipelineModel) -> DataFrame:
    """Label, group, the fields that are sliced by, the served probability, and the grade if there is one."""
    scored = model.transform(leads)
    grade = [GRADE] if GRADE in scored.columns else []
    sliced = [f.name for f in contract.sliced]
    served = served_probability(scored.columns).alias(SCORE)
    return scored.select(F.col(contract.label.name), GROUP, *sliced, served, *grade)


def _log_intervals(contract: Contract, scored: DataFrame) -> dict[str, float]:
    found = intervals(collect_scored(scored, contract.label.name, [SCORE]), SCORE)
    mlflow.log_dict(found.as_dict(), "intervals.json")
    lifts = {f"test_{name}": i.value for name, i in found.metrics.items() if name.startswith("lift")}
    return found.flat("test_") | lifts


def _log_slices(contract: Contract, scored: DataFrame, subject: str) -> dict[str, float]:
    report = slice_report(scored, contract.label.name, SCORE, contract.sliced)
    if report is None:
        return {}
    mlflow.log_dict(report.as_dict(), "slices.json")
    figures: dict[str, Figure] = {f"slices_{f}": slice_plots.slices(report, f, subject) for f in report.fields}
    graded = [f for f in report.fields if any(s.grades for s in report.of(f))]
    figures |= {f"slices_{f}_grades": slice_plots.grades(report, f, subject) for f in graded}
    log_figures(figures)
    worst = report.worst
    return {"test_worst_slice_auc_roc": worst.auc.value} if worst and worst.auc else {}


def _log_explanations(
    contract: Contract, data: Prepared, model: PipelineModel, fields: Sequence[LeadField], subject: str
) -> None:
    shares = importance_by_field(model, encoder_of(model).transform(data.train))
    importance = permutation_importance(model, data.test, fields, contract.label.name, shares)
    mlflow.log_dict(importance.as_dict(), "importance.json")
    top = [f.field for f in importance.fields[:TOP_CURVES]]
    curves = dependence_report(model, data.test, fields, top)
    mlflow.log_dict(curves.as_dict(), "dependence.json")
    figures = {
        "importance": field_plots.importance(importance, subject),
        "dependence": field_plots.dependence(curves, subject),
    }
    if any(pair.h >= LARGE_H for pair in curves.interactions):
        figures["interactions"] = field_plots.interactions(curves, subject)
    log_figures(figures)


def _log_honest(
    contract: Contract,
    data: Prepared,
    model: PipelineModel,
    fields: Sequence[LeadField],
    late: Sequence[str],
    subject: str,
) -> dict[str, float]:
    """The same forest without the fields that are known too late, on the same test leads: what would be left."""
    label, honest_fields = contract.label.name, [f for f in fields if f.name not in late]
    train = data.train.cache()
    try:
        honest = pipeline(honest_fields, params_of(forest_of(model)), label).fit(train)
    finally:
        train.unpersist()
    columns = dict.fromkeys([label, GROUP, *(f.name for f in fields)])
    scored = score_with({SCORE: model, HONEST: honest}, data.test.select(*columns)).cache()
    try:
        sample = collect_scored(scored, label, [SCORE, HONEST])
    finally:
        scored.unpersist()
    sides = {"with the late fields": intervals(sample, SCORE), "without them (honest)": intervals(sample, HONEST)}
    difference = paired_differences(sample, HONEST, SCORE)
    told = {"late_fields": list(late), "sides": {name: side.as_dict() for name, side in sides.items()}}
    mlflow.log_dict({**told, "honest_less_leaky": difference.as_dict()}, "honest.json")
    picture = comparison_plots.compared(_named(sides, late), "What the late fields lend the model", subject)
    log_figures({"honest": picture})
    ends = sides["without them (honest)"]
    return {f"honest_{name}": i.value for name, i in ends.metrics.items()} | ends.flat("honest_")


def _named(sides: Mapping[str, Intervals], late: Sequence[str]) -> dict[str, Intervals]:
    leaky, honest = sides.items()
    return {f"with {', '.join(late)}": leaky[1], "without (honest)": honest[1]}
