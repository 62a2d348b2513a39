"""The stream as a process of its own: killed outright and restarted, or asked to stop."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from features.contract import Contract
from features.contract_file import parse_yaml
from features.stages import ForestParams, pipeline
from pipelines.settings import ROOT, Settings
from pipelines.tracking import connect, log_model, register_model

CONTRACT = """
name: tiny
score_at: browsing
fields:
  - {name: ProspectID, source: Id, kind: id, known_at: capture}
  - {name: LeadNumber, source: Number, kind: order, known_at: capture}
  - {name: ContactedAgent, source: Converted, kind: label, known_at: outcome}
  - {name: Visits, source: Visits, kind: numeric, known_at: browsing}
  - {name: City, source: City, kind: category, known_at: capture}
"""
LEADS = "ProspectID string, LeadNumber double, ContactedAgent int, Visits double, City string"
FILES, PER_FILE, WAIT_SECONDS = 100, 7, 60


@dataclass(frozen=True)
class Shop:
    """A data folder with a source of 100 files, and the environment in which commands find it and the model."""

    data: Path
    environment: dict[str, str]

    @property
    def output(self) -> Path:
        return self.data / "scores" / "stream"

    def batches(self) -> list[Path]:
        return sorted(self.output.glob("query=*/batch=*"))

    def commits(self) -> int:
        return len(list(self.data.glob("checkpoints/stream/commits/[0-9]*")))

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "pipelines.stream", "--sink", "parquet", *options]

    def run(self, *options: str) -> str:
        """Run the stream to its end; what it said."""
        done = subprocess.run(
            self.command(*options), env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def running(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """The stream as a process that is surely gone at the end of the block."""
        process = subprocess.Popen(
            self.command(*options), env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[dict[str, str]]:
    """A store with a tiny model in Production, as environment variables."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "tiny.yaml").write_text(CONTRACT)
    uri, before = f"sqlite:///{folder}/mlflow.db", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = connect(Settings())
    client.create_experiment("tiny", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("tiny")
    fields = parse_yaml(CONTRACT, Contract, "tiny.yaml").features
    leads = spark.createDataFrame([(f"p{i}", float(i), i % 2, float(i % 2), "Pune") for i in range(20)], LEADS)
    model = pipeline(fields, ForestParams(trees=2, depth=2), "ContactedAgent").fit(leads)
    with mlflow.start_run():
        number = register_model("tiny", log_model(model, fields, leads), {})
    client.set_registered_model_alias("tiny", "Production", str(number))
    mlflow.set_tracking_uri(before)
    names = {"CONTRACT_FILE": str(folder / "tiny.yaml"), "MODEL_NAME": "tiny", "EXPERIMENT": "tiny", "DRIVER_MEMORY": "1g"}
    yield {**os.environ, "MLFLOW_TRACKING_URI": uri, **{f"LEADS_{name}": value for name, value in names.items()}}


@pytest.fixture
def shop(environment: dict[str, str], spark: SparkSession, tmp_path: Path) -> Shop:
    rows = [(f"p{i}", float(i), i % 2, float(i % 10), "Pune") for i in range(FILES * PER_FILE)]
    spark.createDataFrame(rows, LEADS).coalesce(1).write.parquet(str(tmp_path / "all"))
    leads = pq.read_table(tmp_path / "all")
    (tmp_path / "stream").mkdir()
    for index in range(FILES):
        pq.write_table(leads.slice(index * PER_FILE, PER_FILE), tmp_path / "stream" / f"{index:03d}.parquet")
    return Shop(tmp_path, {**environment, "LEADS_DATA": str(tmp_path)})


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert process.poll() is None, "the stream ended before its time"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def test_a_stream_killed_twice_scores_every_lead_exactly_once(shop, spark):
    for batches in (20, 50):
        with shop.running("--trigger", "0 seconds") as process:
            wait_for(lambda batches=batches: len(shop.batches()) >= batches, process)
            process.send_signal(signal.SIGKILL)
    assert 50 <= len(shop.batches()) < FILES
    shop.run("--available-now", "true")
    once = Counter(f"p{i}" for i in range(FILES * PER_FILE))
    by_arrow = ds.dataset(shop.output, format="parquet", partitioning="hive").to_table(columns=["ProspectID"])
    assert Counter(by_arrow["ProspectID"].to_pylist()) == once
    assert Counter(r.ProspectID for r in spark.read.parquet(str(shop.output)).collect()) == once


def test_sigterm_ends_the_stream_between_two_batches_with_exit_code_0(shop):
    with shop.running("--trigger", "0 seconds") as process:
        wait_for(lambda: len(shop.batches()) >= 3, process)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert len(shop.batches()) == shop.commits()
    assert f"scored {len(shop.batches()) * PER_FILE:,} leads" in said


def test_a_refused_parameter_costs_one_line_and_exit_code_2(shop):
    done = subprocess.run(
        shop.command("--trigger", "soon"), env=shop.environment, cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: trigger 'soon' is no length of time")
    assert len(done.stderr.splitlines()) == 1
