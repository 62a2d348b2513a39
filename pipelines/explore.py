"""explore: a report of the leads themselves, before any model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import mlflow
import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from evaluation import explore_plots
from evaluation.exploration import Exploration, Written
from evaluation.explore import explore as explore_leads
from evaluation.explore_page import page
from evaluation.explore_written import as_written, survey
from features.contract import Contract
from features.csv_files import find_csv
from features.csv_rows import read_rows
from features.ingest import check_leads, read_leads
from pipelines.commands import run_command
from pipelines.datasets import load_prepared
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, log_figures, tracked_run

REPORT = "explore.html"


@dataclass(frozen=True)
class Explored:
    """What was found, of which leads, and in which run it is logged."""

    found: Exploration
    subject: str
    run_id: str


def explore(
    csv: Annotated[str, typer.Option(help="CSV file, folder or glob; empty: the train side of the prepared data")] = "",
) -> None:
    """Write a report of the leads: what is missing, what goes with the label, what changes over time, what repeats."""
    settings = Settings()
    with spark_session(settings, "explore", beside=connect) as spark:
        explored = run_explore(spark, settings, csv)
    found = explored.found
    print(
        f"run {explored.run_id}: {found.all.leads:,} leads, {found.all.value or 0:.1%} converted, "
        f"{found.repeats.rows:,} repeat another; see {REPORT} among the run's artifacts"
    )


def run_explore(spark: SparkSession, settings: Settings, csv: str = "") -> Explored:
    """Explore within a tracked run, which gets explore.html, explore.json and the plots."""
    with tracked_run(settings, "explore", {"csv": csv}) as run:
        found, subject = look(spark, settings, csv)
        figures = explore_plots.pictures(found, subject)
        mlflow.log_text(page(found, figures, subject), REPORT)
        mlflow.log_dict(found.as_dict(), "explore.json")
        log_figures(figures)
        mlflow.log_metrics(
            {
                "leads": found.all.leads,
                "conversion_rate": found.all.value or 0.0,
                "repeated_leads": found.repeats.rows,
                "late_fields": sum(p.late for p in found.profiles),
            }
        )
    return Explored(found, subject, run.info.run_id)


def look(spark: SparkSession, settings: Settings, csv: str = "") -> tuple[Exploration, str]:
    """What is found in the leads of a CSV, or in the train side; and in words, which leads these are.

    The test side is left alone: a choice made after looking at test leads makes their metrics too good. A CSV holds
    the later test leads as well, so name one to judge a file, not to choose features.
    """
    contract = settings.contract()
    if csv:
        with _good_leads(spark, csv, contract) as leads:
            return explore_leads(
                leads, contract, _survey(spark, csv, contract)
            ), f"{contract.name}; all leads of the CSV"
    train = load_prepared(spark, settings).train.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        return explore_leads(train, contract), f"{contract.name}; train leads"
    finally:
        train.unpersist()


@contextmanager
def _good_leads(spark: SparkSession, csv: str, contract: Contract) -> Iterator[DataFrame]:
    """The leads of a CSV that may be trained on, cached."""
    leads = read_leads(spark, csv, contract)
    leads.checked.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        check_leads(leads, contract)
        yield leads.good
    finally:
        leads.checked.unpersist()


def _survey(spark: SparkSession, csv: str, contract: Contract) -> tuple[Written, ...]:
    """How the CSV writes its fields."""
    files = find_csv(spark, csv, contract, labelled=True)
    raw = as_written(contract, {column for f in files for column in f.header.columns})
    return survey(read_rows(spark, files, raw), contract)


if __name__ == "__main__":
    run_command(explore)
