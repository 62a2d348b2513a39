"""compare: two versions or runs on the same test leads, what differs, and which leads change their grade."""

import re
from dataclasses import dataclass
from typing import Annotated

import mlflow
import typer
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pyspark.sql import DataFrame, SparkSession

from evaluation import overlay_plots
from evaluation.comparison import FIRST, SECOND, Comparison, compare_scores, scored_pair
from evaluation.comparison_page import comparison_document
from features.contract import Contract
from features.errors import LeadScoringError
from pipelines.commands import run_command
from pipelines.datasets import load_prepared
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, log_figures, tracked_run
from serving.compiled.artifact import NotCompiled, load_explaining
from serving.compiled.errors import CannotExplain
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.reasons import COLUMN, short
from serving.models import load_pipeline
from serving.registry import NoSuchModel, ResolvedVersion, resolve, versions

LATEST = "latest"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class NoSuchRun(LeadScoringError):
    """A run was named that the tracking store does not hold, or that logged no model."""


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: what it is called, its model's address, its run, and its tags."""

    called: str
    uri: str
    run_id: str
    data_hash: str
    version: ResolvedVersion | None


@dataclass(frozen=True)
class Compared:
    """What a comparison left."""

    run_id: str
    names: tuple[str, str]
    found: Comparison

    def __str__(self) -> str:
        change = self.found.differences.metrics["auc_roc"]
        crossed = "" if self.found.crossed is None else f"; {self.found.crossed:,} leads get another grade"
        return (
            f"{self.names[1]} against {self.names[0]} on {self.found.leads:,} test leads: ROC AUC {change.value:+.4f} "
            f"({change.low:+.4f} to {change.high:+.4f}){crossed}; page: comparison.html of run {self.run_id}"
        )


def compare(
    first: Annotated[str, typer.Option(help="alias, version number, latest, or run id")] = "Production",
    second: Annotated[str, typer.Option(help="alias, version number, latest, or run id")] = LATEST,
    top: Annotated[int, typer.Option(min=1, max=1000, help="changed leads to list")] = 20,
) -> None:
    """Compare two models on the prepared test leads, and log what differs as a run."""
    settings = Settings()
    with spark_session(settings, "compare") as spark:
        print(run_compare(spark, settings, first, second, top))


def run_compare(
    spark: SparkSession, settings: Settings, first: str = "Production", second: str = LATEST, top: int = 20
) -> Compared:
    """Compare within a tracked run: comparison.json, comparison.html, overlaid curves, differences as metrics."""
    client, contract = connect(settings), settings.contract()
    data = load_prepared(spark, settings)
    with tracked_run(settings, "compare", {"first": first, "second": second, "top": top}) as run:
        sides = [contender(client, settings.model_name, which) for which in (first, second)]
        names = (sides[0].called, sides[1].called)
        mlflow.set_tags(
            {"first_run": sides[0].run_id, "second_run": sides[1].run_id, "seen": _seen(sides, data.data_hash)}
        )
        models = [load_pipeline(spark, side.uri, side.called) for side in sides]
        leads = scored_pair(models[0], models[1], data.test, contract).cache()
        try:
            found = compare_scores(leads, contract, top)
            ids = [c.lead for c in found.changed]
            reasons = reasons_of_both(data.test, ids, [s.version for s in sides], contract)
        finally:
            leads.unpersist()
        _log(found, names, reasons)
        return Compared(run.info.run_id, names, found)


def contender(client: MlflowClient, model: str, which: str) -> Contender:
    """What is compared: a version by alias, number or `latest`, or a run by its id. NoSuchRun names a run without."""
    if _RUN_ID.fullmatch(which):
        try:
            run = client.get_run(which)
        except MlflowException:
            raise NoSuchRun(f"the tracking store holds no run {which}; copy the id from the UI.") from None
        if "features" not in run.data.tags:
            raise NoSuchRun(f"run {which} logged no model; name a run of train or of a sweep.")
        return Contender(f"run {which[:8]}", f"runs:/{which}/model", which, run.data.tags.get("data_hash", ""), None)
    if which == LATEST:
        known = versions(client, model)
        if not known:
            raise NoSuchModel(f"the registry holds no version of {model}; train one: `mlflow run . -e train`.")
        found = known[0]
    else:
        found = resolve(client, model, which)
    called = f"version {found.version}"
    return Contender(called, found.uri, found.run_id, found.tags.get("data_hash", ""), found)


def _seen(sides: list[Contender], data_hash: str) -> str:
    """Which of the two may have been trained on some of these test leads: their differences flatter it."""
    return ", ".join(side.called for side in sides if side.data_hash != data_hash) or "neither"


def reasons_of_both(
    leads: DataFrame, ids: list[str], sides: list[ResolvedVersion | None], contract: Contract
) -> dict[str, tuple[str, str]]:
    """Reasons of two versions for some of the leads, by id; empty where one has no compiled scorer that tells them."""
    told, key = [], contract.id.name
    some = leads.where(leads[key].cast("string").isin(ids))
    for version in sides if ids else ():
        if version is None:
            return {}
        try:
            plan = scored_by_compiled(some, load_explaining(version), version, contract, reasons=True)
        except (NotCompiled, CannotExplain):
            return {}
        told.append({row[key]: short(row[COLUMN]) for row in plan.select(key, COLUMN).collect()})
    return {lead: (told[0].get(lead, ""), told[1].get(lead, "")) for lead in ids}


def _log(found: Comparison, names: tuple[str, str], reasons: dict[str, tuple[str, str]]) -> None:
    subject = f"first: {names[0]}; second: {names[1]}; test leads"
    bins = {f"first: {names[0]}": found.bins[FIRST], f"second: {names[1]}": found.bins[SECOND]}
    figures = {
        "differences": overlay_plots.differences(found.differences, subject),
        "roc": overlay_plots.roc(bins, subject),
        "calibration": overlay_plots.calibration(bins, subject),
        "gains": overlay_plots.gains(bins, subject),
    }
    page = comparison_document(found, names, figures, reasons)
    changes = {f"{name}_difference": i.value for name, i in found.differences.metrics.items()}
    crossed = {} if found.crossed is None else {"leads_that_cross_a_grade": float(found.crossed)}
    mlflow.log_metrics(changes | found.differences.flat("difference_") | crossed)
    mlflow.log_dict({"first": names[0], "second": names[1], **found.as_dict()}, "comparison.json")
    mlflow.log_text(page.as_html(), "comparison.html")
    log_figures(figures)


if __name__ == "__main__":
    run_command(compare)
