"""score: score a file or folder of leads in one go, by the model version that is in Production."""

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

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
from serving.compiled.artifact import has_compiled, load_compiled, load_explaining
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.local import marker, score_dataset
from serving.compiled.places import Place, full_uri
from serving.models import load_version
from serving.ownership import absolute, lies_in, read_marker, write_marker
from serving.registry import ResolvedVersion, resolve
from serving.replacing import replacing
from serving.scoring import scored
from serving.sources import BadSource, lead_files, naming_unreadable_files

KIND = "scores of a batch"
# Rows that go to a Python worker at a time: neighbours share branches, so more at a time is faster per lead.
ARROW_ROWS = "32768"


class Engine(StrEnum):
    """What scores: the compiled scorer in Spark or without it, or the Spark pipeline; auto: the first that is there."""

    AUTO = "auto"
    COMPILED = "compiled"
    SPARK = "spark"
    LOCAL = "local"


class OutputTaken(LeadScoringError):
    """The output folder holds scores already."""


class NoReasons(LeadScoringError):
    """Reasons were asked of an engine that gives none."""


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
    reasons: Annotated[Switch, typer.Option(help="tell why each lead has its score")] = Switch.FALSE,
    engine: Annotated[Engine, typer.Option(help="compiled in Spark, Spark pipeline, or compiled without Spark")] = (
        Engine.AUTO
    ),
) -> None:
    """Score leads into a Parquet folder that appears whole."""
    settings = Settings()
    asked: dict[str, Any] = {"overwrite": bool(overwrite), "version": version, "reasons": bool(reasons)}
    if engine is Engine.LOCAL:
        print(run_score_locally(settings, input, output, **asked))
        return
    with spark_session(
        settings,
        "score",
        beside=connect,
        spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS,
    ) as spark:
        print(run_score(spark, settings, input, output, engine=engine, **asked))


def run_score(
    spark: SparkSession,
    settings: Settings,
    leads: str = "",
    output: str = "",
    *,
    overwrite: bool = False,
    version: str = "Production",
    engine: Engine = Engine.AUTO,
    reasons: bool = False,
) -> ScoreSummary:
    """Score a Parquet folder, or a CSV read by the contract, within a tracked run.

    The scores are written beside `output` and renamed. NotOurs where `output` holds anything but the scores of a
    batch; OutputTaken where it holds those and `overwrite` is false; BadSource where the leads cannot be read;
    NotCompiled where `engine` is compiled, or `reasons` are asked for, and the version has no compiled scorer;
    NoReasons where the Spark pipeline shall tell them; CannotExplain where the version's model cannot be explained.
    """
    if reasons and engine is Engine.SPARK:
        raise NoReasons("engine=spark gives no reasons; take engine=compiled or engine=local, or reasons=false.")
    source = absolute(spark, leads or settings.stream)
    target = absolute(spark, output or join(settings.data, "scores", "batch"))
    asked = {"input": source, "output": target, "overwrite": overwrite, "version": version, "engine": engine.value}
    asked["reasons"] = reasons
    with tracked_run(settings, "score", asked) as run:
        start, storage = time.monotonic(), Storage(spark)
        _refuse_nested(source, target, lies_in(source, target) or lies_in(target, source))
        _refuse_taken(target, read_marker(storage, target, KIND) is not None, overwrite)
        contract = settings.contract()
        frame, quarantined = _read(spark, source, contract)
        resolved = resolve(connect(settings), settings.model_name, version)
        plan = _plan(spark, frame, resolved, contract, engine, reasons)
        rows = _write(storage, plan, target, resolved, source)
        seconds = time.monotonic() - start
        _log(resolved, {"rows_scored": rows, "rows_quarantined": quarantined, "score_seconds": seconds})
        return ScoreSummary(run.info.run_id, resolved.version, rows, quarantined, seconds, target)


def run_score_locally(
    settings: Settings,
    leads: str = "",
    output: str = "",
    *,
    overwrite: bool = False,
    version: str = "Production",
    reasons: bool = False,
) -> ScoreSummary:
    """Score a Parquet folder by the compiled scorer, in this process, within a tracked run; no Spark is started."""
    source = full_uri(leads or settings.stream)
    target = full_uri(output or join(settings.data, "scores", "batch"))
    asked = {"input": source, "output": target, "overwrite": overwrite, "version": version, "engine": "local"}
    asked["reasons"] = reasons
    with tracked_run(settings, "score", asked) as run:
        start, read, written = time.monotonic(), Place.of(source), Place.of_output(target)
        _refuse_nested(source, target, read.lies_in(written) or written.lies_in(read))
        _refuse_taken(target, marker(target, KIND) is not None, overwrite)
        resolved = resolve(connect(settings), settings.model_name, version)
        scorer, threads = load_explaining(resolved) if reasons else load_compiled(resolved), os.cpu_count() or 1
        contract = settings.contract()
        rows = score_dataset(source, target, scorer, resolved, contract, kind=KIND, threads=threads, reasons=reasons)
        seconds = time.monotonic() - start
        _log(resolved, {"rows_scored": rows, "rows_quarantined": 0, "score_seconds": seconds})
        return ScoreSummary(run.info.run_id, resolved.version, rows, 0, seconds, target)


def _plan(
    spark: SparkSession,
    leads: DataFrame,
    version: ResolvedVersion,
    contract: Contract,
    engine: Engine,
    reasons: bool,
) -> DataFrame:
    """The scoring plan of an engine, noted on the run as the tag `engine`."""
    compiled = engine is Engine.COMPILED or (engine is Engine.AUTO and (reasons or has_compiled(version)))
    mlflow.set_tag("engine", "compiled" if compiled else "spark")
    if reasons:
        return scored_by_compiled(leads, load_explaining(version), version, contract, reasons=True)
    if compiled:
        return scored_by_compiled(leads, load_compiled(version), version, contract)
    return scored(leads, load_version(spark, version), version, contract)


def _log(version: ResolvedVersion, metrics: dict[str, float]) -> None:
    mlflow.set_tags({"model_name": version.name, "model_version": str(version.version)})
    mlflow.log_metrics(metrics)


def _refuse_nested(source: str, target: str, nested: bool) -> None:
    if nested:
        raise OutputTaken(f"input {source} and output {target} lie inside one another; name folders beside each other.")


def _refuse_taken(target: str, taken: bool, overwrite: bool) -> None:
    if taken and not overwrite:
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
    rows = Observation()
    with replacing(storage, target) as staged:
        with naming_unreadable_files():
            plan.observe(rows, F.count(F.lit(1)).alias("rows")).write.parquet(staged)
        write_marker(storage, staged, KIND, model=version.name, version=str(version.version), source=source)
    return int(rows.get["rows"])


if __name__ == "__main__":
    run_command(score)
