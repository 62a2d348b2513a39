"""compare: two versions or runs on the same test leads, what differs, and which leads change their grade."""

import re
from dataclasses import dataclass, replace
from typing import Annotated

import mlflow
import typer
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pyspark.sql import DataFrame, SparkSession

from evaluation import overlay_plots
from evaluation.comparison import FIRST, SECOND, Comparison, Reasons, Seen, compare_scores, scored_pair
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
from serving.compiled.reasons import COLUMN
from serving.models import load_pipeline
from serving.registry import NoSuchModel, ResolvedVersion, resolve, versions

LATEST = "latest"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class NoSuchRun(LeadScoringError):
    """A run was named that the tracking store does not hold, or that logged no model."""


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: what it is called, its model's address, its run, and what it was trained on.

    `tagged` carries the tags by which its compiled scorer is found; for a run, its version is 0 if it registered none.
    `train_leads` is None where its run is not on record any more.
    """

    called: str
    uri: str
    run_id: str
    data_hash: str
    train_leads: int | None
    tagged: ResolvedVersion


@dataclass(frozen=True)
class Compared:
    """What a comparison left."""

    run_id: str
    names: tuple[str, str]
    found: Comparison

    def __str__(self) -> str:
        change = self.found.differences.metrics["auc_roc"]
        crossed = "" if self.found.crossed is None else f"; {self.found.crossed:,} leads get another grade"
        known = "".join(f"; {s.model} may have learned from some of these leads" for s in self.found.seen)
        return (
            f"{self.names[1]} against {self.names[0]} on {self.found.leads:,} test leads: ROC AUC {change.value:+.4f} "
            f"({change.low:+.4f} to {change.high:+.4f}){crossed}{known}; page: comparison.html of run {self.run_id}"
        )


def compare(
    first: Annotated[str, typer.Option(help="alias, version number, latest, or run id")] = "Production",
    second: Annotated[str, typer.Option(help="alias, version number, latest, or run id")] = LATEST,
    top: Annotated[int, typer.Option(min=1, max=1000, help="changed leads to list")] = 20,
) -> None:
    """Compare two models on the prepared test leads, and log what differs as a run."""
    settings = Settings()
    with spark_session(settings, "compare", beside=connect) as spark:
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
        strangers = [side for side in sides if side.data_hash != data.data_hash]
        known = ", ".join(side.called for side in strangers) or "neither"
        mlflow.set_tags({"first_run": sides[0].run_id, "second_run": sides[1].run_id, "seen": known})
        models = [load_pipeline(spark, side.uri, side.called) for side in sides]
        leads = scored_pair(models[0], models[1], data.test, contract).cache()
        try:
            found = compare_scores(leads, contract, top)
            ids = [c.lead for c in found.changed]
            told = [reasons_of(side.tagged, data.test, ids, contract) for side in sides]
        finally:
            leads.unpersist()
        seen = tuple(_seen(side, found.total) for side in strangers)
        found = replace(found.explained(told[0], told[1]), seen=seen)
        _log(found, names)
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
        tags = run.data.tags
        number = tags.get("model_version", "")
        tagged = ResolvedVersion(model, int(number) if number.isdecimal() else 0, which, tags)
        return _contender(client, f"run {which[:8]}", f"runs:/{which}/model", tagged)
    if which == LATEST:
        known = versions(client, model)
        if not known:
            raise NoSuchModel(f"the registry holds no version of {model}; train one: `mlflow run . -e train`.")
        found = known[0]
    else:
        found = resolve(client, model, which)
    return _contender(client, f"version {found.version}", found.uri, found)


def _contender(client: MlflowClient, called: str, uri: str, tagged: ResolvedVersion) -> Contender:
    try:
        leads = client.get_run(tagged.run_id).data.metrics.get("train_rows")
    except MlflowException:  # a version may outlive its run
        leads = None
    trained_on = None if leads is None else int(leads)
    return Contender(called, uri, tagged.run_id, tagged.tags.get("data_hash", ""), trained_on, tagged)


def _seen(side: Contender, test_leads: int) -> Seen:
    """What a model that was trained on other prepared data may know of the test leads: no more than it was shown."""
    shown = test_leads if side.train_leads is None else min(test_leads, side.train_leads)
    return Seen(side.called, shown, side.train_leads)


def reasons_of(version: ResolvedVersion, leads: DataFrame, ids: list[str], contract: Contract) -> Reasons | None:
    """Reasons of a model for some of the leads, by id; None where it has no compiled scorer that tells them."""
    if not ids:
        return {}
    key = contract.id.name
    some = leads.where(leads[key].cast("string").isin(ids))
    try:
        plan = scored_by_compiled(some, load_explaining(version), version, contract, reasons=True)
    except (NotCompiled, CannotExplain):
        return None
    return {row[key]: [reason.asDict() for reason in row[COLUMN]] for row in plan.select(key, COLUMN).collect()}


def _log(found: Comparison, names: tuple[str, str]) -> None:
    subject = f"first: {names[0]}; second: {names[1]}; test leads"
    bins = {f"first: {names[0]}": found.bins[FIRST], f"second: {names[1]}": found.bins[SECOND]}
    figures = {
        "differences": overlay_plots.differences(found.differences, subject),
        "roc": overlay_plots.roc(bins, subject),
        "calibration": overlay_plots.calibration(bins, subject),
        "gains": overlay_plots.gains(bins, subject),
    }
    page = comparison_document(found, names, figures)
    changes = {f"{name}_difference": i.value for name, i in found.differences.metrics.items()}
    crossed = {} if found.crossed is None else {"leads_that_cross_a_grade": float(found.crossed)}
    mlflow.log_metrics(changes | found.differences.flat("difference_") | crossed)
    mlflow.log_dict({"first": names[0], "second": names[1], **found.as_dict()}, "comparison.json")
    mlflow.log_text(page.as_html(), "comparison.html")
    log_figures(figures)


if __name__ == "__main__":
    run_command(compare)
