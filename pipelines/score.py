"""score: score a file or folder of leads in one go, by the model version that is in Production."""

import time
from dataclasses import dataclass
from typing import Annotated

import mlflow
import typer
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from features.contract import Contract
from features.errors import LeadScoringError
from features.ingest import check_leads, read_leads
from features.storage import Storage, join
from pipelines.commands import Switch, run_command
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, tracked_run
from serving.models import load_version
from serving.ownership import absolute, read_marker, write_marker
from serving.registry import ResolvedVersion, resolve
from serving.scoring import scored
from serving.sources import BadSource, lead_files, naming_unreadable_files

KIND = "scores of a batch"


class OutputTaken(LeadScoringError):
    """The output folder holds scores already."""


@dataclass(frozen=True)
class ScoreSummary:
    """What a batch did: leads scored, rows of a CSV that the contract refused, seconds."""

    run_id: str
    version: int
    rows: int
    quarantined: int
    seconds: float
    output: str

    def __str__(self) -> str:
        refused = f", {self.quarantined:,} rows refused by the contract" if self.quarantined else ""
        did = f"version {self.version} scored {self.rows:,} leads in {self.seconds:.1f} s"
        return f"{did}{refused}; scores in {self.output}"


def score(
    input: Annotated[str, typer.Option(help="Parquet folder or CSV of leads; empty: data/stream")] = "",
    output: Annotated[str, typer.Option(help="folder of the scores; empty: data/scores/batch")] = "",
    overwrite: Annotated[Switch, typer.Option(help="replace the scores of an earlier batch")] = Switch.FALSE,
    version: Annotated[str, typer.Option(help="alias or number of the model version")] = "Production",
) -> None:
    """Score leads into a Parquet folder that appears whole."""
    settings = Settings()
    with spark_session(settings, "score") as spark:
        print(run_score(spark, settings, input, output, overwrite=bool(overwrite), version=version))


def run_score(
    spark: SparkSession,
    settings: Settings,
    leads: str = "",
    output: str = "",
    *,
    overwrite: bool = False,
    version: str = "Production",
) -> ScoreSummary:
    """Score a Parquet folder, or a CSV read by the contract, within a tracked run.

    The scores are written beside `output` and renamed. NotOurs where `output` holds anything but the scores of a
    batch; OutputTaken where it holds those and `overwrite` is false; BadSource where the leads cannot be read.
    """
    source = absolute(spark, leads or settings.stream)
    target = absolute(spark, output or join(settings.data, "scores", "batch"))
    asked = {"input": source, "output": target, "overwrite": overwrite, "version": version}
    with tracked_run(settings, "score", asked) as run:
        start = time.monotonic()
        _refuse_taken(Storage(spark), source, target, overwrite)
        contract = settings.contract()
        frame, quarantined = _read(spark, source, contract)
        resolved = resolve(connect(settings), settings.model_name, version)
        mlflow.set_tags({"model_name": resolved.name, "model_version": str(resolved.version)})
        plan = scored(frame, load_version(spark, resolved), resolved, contract)
        rows = _write(Storage(spark), plan, target, resolved, source)
        seconds = time.monotonic() - start
        mlflow.log_metrics({"rows_scored": rows, "rows_quarantined": quarantined, "score_seconds": seconds})
        return ScoreSummary(run.info.run_id, resolved.version, rows, quarantined, seconds, target)


def _refuse_taken(storage: Storage, source: str, target: str, overwrite: bool) -> None:
    if f"{source}/".startswith(f"{target}/") or f"{target}/".startswith(f"{source}/"):
        raise OutputTaken(f"input {source} and output {target} lie inside one another; name folders beside each other.")
    if read_marker(storage, target, KIND) is not None and not overwrite:
        raise OutputTaken(
            f"{target} holds the scores of an earlier batch; name another output, or give overwrite=true."
        )


def _read(spark: SparkSession, source: str, contract: Contract) -> tuple[DataFrame, int]:
    """The leads of a CSV (by the contract) or of Parquet files, and how many rows the contract refused."""
    entries = Storage(spark).list(source)
    if not entries:
        raise BadSource(f"there are no leads at {source}; name a CSV, or a folder of Parquet files.")
    if all(e.name.lower().endswith((".csv", ".csv.gz")) for e in entries):
        leads = read_leads(spark, source, contract, labelled=False)
        counts = check_leads(leads, contract)
        return leads.good, counts.rows - counts.good
    return lead_files(spark, source), 0


def _write(storage: Storage, plan: DataFrame, target: str, version: ResolvedVersion, source: str) -> int:
    """Write the scores beside the target, then put them in its place; the number of rows."""
    parent, name = target.rstrip("/").rsplit("/", 1)
    staged, rows = join(parent, f".{name}.part"), Observation()
    storage.delete(staged)
    try:
        with naming_unreadable_files():
            plan.observe(rows, F.count(F.lit(1)).alias("rows")).write.parquet(staged)
        write_marker(storage, staged, KIND, model=version.name, version=str(version.version), source=source)
        storage.delete(target)
        storage.move(staged, target)
    finally:
        storage.delete(staged)
    return int(rows.get["rows"])


if __name__ == "__main__":
    run_command(score)
