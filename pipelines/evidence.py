"""What a run keeps of a fitted model beside its metrics: intervals, slices, explanations, honest beside leaky."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import mlflow
from matplotlib.figure import Figure
from pyspark.ml import PipelineModel

from evaluation import comparison_plots, field_plots, slice_plots
from evaluation.bootstrap import Intervals, intervals, paired_differences
from evaluation.dependence import dependence_report
from evaluation.importance import importance_by_field
from evaluation.permutation import permutation_importance
from evaluation.scored_sample import collect_scored, score_with
from evaluation.scorers import Scorer
from evaluation.slices import SliceReport
from features.contract import Contract, LeadField
from features.splits import GROUP
from features.stages import encoder_of, forest_of, params_of, pipeline
from pipelines.datasets import Prepared
from pipelines.measures import Measured
from pipelines.tracking import log_figures

LEAKY, HONEST = "leaky", "honest"
TOP_CURVES = 6
# What depends on the order of the scores alone, and so is the same before and after calibration.
BY_ORDER = ("auc_roc", "auc_pr", "lift_at_10", "lift_at_20")


def log_evidence(
    contract: Contract,
    data: Prepared,
    model: PipelineModel,
    fields: Sequence[LeadField],
    found: Measured,
    subject: str,
    explain: Scorer | None = None,
) -> dict[str, float]:
    """Log to the active run what a model's metrics rest on; further metrics by name, for the caller to log.

    `found` is what was measured of the test leads. Leaves intervals.json, slices.json and their plots; with `explain`
    (the model as a Scorer) importance.json and dependence.json; and honest.json where the contract declares some of
    `fields` late. The seconds of the last two are among the metrics.
    """
    metrics = _log_intervals(found.intervals)
    if explain is not None:
        with _timed(metrics, "explain"):
            _log_explanations(contract, data, model, fields, subject, explain)
    if found.slices is not None:
        metrics |= _log_slices(found.slices, subject)
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


def _log_intervals(found: Intervals) -> dict[str, float]:
    mlflow.log_dict(found.as_dict(), "intervals.json")
    lifts = {f"test_{name}": i.value for name, i in found.metrics.items() if name.startswith("lift")}
    return found.flat("test_") | lifts


def _log_slices(report: SliceReport, subject: str) -> dict[str, float]:
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
