"""A folder with prepared leads and a model in Production: what the benchmarks measure on."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from pyspark.sql import SparkSession

from features.contract import Contract, Kind
from pipelines.prepare import run_prepare
from pipelines.score import ARROW_ROWS
from pipelines.session import build_session
from pipelines.settings import ROOT, Settings
from pipelines.tracking import connect
from pipelines.training import run_train
from serving.registry import move_production


@dataclass(frozen=True)
class Workplace:
    """Where a benchmark keeps its data and runs; `leads` says whether they are real or generated."""

    folder: Path
    leads: str

    @property
    def settings(self) -> Settings:
        """Settings that point there."""
        return Settings(data=str(self.folder / "data"))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands that work there."""
        own = {"LEADS_DATA": str(self.folder / "data"), "MLFLOW_TRACKING_URI": self.tracking, "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, "MLFLOW_DISABLE_TELEMETRY": "true"}

    @property
    def tracking(self) -> str:
        """The tracking URI."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def command(self, module: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a module as a process; its output can be read line by line."""
        log = (self.folder / f"{module}.err").open("a")
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def real_csv() -> str:
    """The real leads where LEADS_CSV names them; empty: a generated sample."""
    path = os.environ.get("LEADS_CSV", "")
    return f"file://{Path(path).resolve()}" if path else ""


@contextmanager
def workplace() -> Iterator[Workplace]:
    """A temporary workplace; MLflow points at it inside the block."""
    with tempfile.TemporaryDirectory(prefix="lead-scoring-bench-", ignore_cleanup_errors=True) as name:
        place = Workplace(Path(name), "real leads" if real_csv() else "generated sample leads")
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(place.tracking)
        client = connect(place.settings)
        client.create_experiment(place.settings.experiment, artifact_location=(place.folder / "runs").as_uri())
        try:
            yield place
        finally:
            mlflow.set_tracking_uri(before)


def with_production(spark: SparkSession, place: Workplace, versions: int = 1) -> None:
    """Prepare leads and train `versions` models (100 trees, depth 10, calibrated); the first goes into Production."""
    run_prepare(spark, place.settings, real_csv())
    for _ in range(versions):
        run_train(spark, place.settings, "available", explain=False)
    promote(place, 1)


def promote(place: Workplace, version: int) -> None:
    """Move Production without the gate."""
    client, name = connect(place.settings), place.settings.model_name
    move_production(client, name, version, reason="benchmark", who="benchmark", now=datetime.now(UTC), gate={})


@contextmanager
def session(settings: Settings, name: str, master: str = "local[*]") -> Iterator[SparkSession]:
    """A session of its own, with batches of leads as `score` has them, for the length of the block."""
    spark = build_session(
        settings.model_copy(update={"master": master}),
        name,
        spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS,
    )
    try:
        yield spark
    finally:
        spark.stop()


def event_templates(spark: SparkSession, place: Workplace, contract: Contract, count: int = 1000) -> list[str]:
    """Test leads as JSON events without label, in which "ID" stands for the lead's id."""
    kept = [f for f in contract.features if f.known_at <= contract.score_at]
    rows = spark.read.parquet(f"{place.settings.prepared}/test").limit(count).collect()
    answers = [{f.name: row[f.name] for f in kept if row[f.name] is not None} for row in rows]
    answered = [a for a in answers if any(f.name in a for f in kept if f.kind is Kind.NUMERIC)]
    return [json.dumps({contract.id.name: "ID", "event_id": "ID", **a}) for a in answered]
