"""The stream as a process of its own: killed outright and restarted, or asked to stop."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession

from tests.commands import Workplace
from tests.leads import small_leads
from tests.served import served, write_files

FILES, PER_FILE, WAIT_SECONDS = 100, 7, 120


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Workplace:
    """A small model in Production and 100 files of leads."""
    folder = tmp_path_factory.mktemp("kill")
    with served(spark, folder) as settings:
        write_files(small_leads(spark, FILES * PER_FILE), Path(settings.stream), FILES)
    return Workplace.at(folder)


@pytest.fixture
def command(store: Workplace, tmp_path: Path) -> list[str]:
    """The stream back to back, with an output and a checkpoint of the test's own."""
    words = [sys.executable, "-m", "pipelines.stream", "--sink", "parquet", "--trigger", "0 seconds"]
    return [*words, "--output", str(tmp_path / "scores"), "--checkpoint", str(tmp_path / "checkpoint")]


@contextmanager
def running(command: list[str], store: Workplace) -> Iterator[subprocess.Popen[str]]:
    """The stream as a process that is surely gone at the end of the block."""
    process = subprocess.Popen(
        command, env=store.environment, cwd=store.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def batches(folder: Path) -> int:
    return len(list(folder.glob("scores/batch_date=*/query=*/batch=*")))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert process.poll() is None, "the stream ended before its time"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def test_a_stream_killed_twice_scores_every_lead_exactly_once(command, store, spark, tmp_path):
    for killed_at in (5, 12):
        with running([*command, "--max-files-per-trigger", "2"], store) as process:
            wait_for(lambda killed_at=killed_at: batches(tmp_path) >= killed_at, process)
            process.send_signal(signal.SIGKILL)
    assert 12 <= batches(tmp_path) < FILES / 2
    rest = [*command, "--max-files-per-trigger", "20", "--available-now", "true"]
    subprocess.run(rest, env=store.environment, cwd=store.folder, timeout=WAIT_SECONDS, check=True, capture_output=True)
    once = Counter(f"lead-{i:05d}" for i in range(FILES * PER_FILE))
    by_arrow = ds.dataset(tmp_path / "scores", format="parquet", partitioning="hive").to_table(columns=["LeadId"])
    assert Counter(by_arrow["LeadId"].to_pylist()) == once
    assert Counter(r.LeadId for r in spark.read.parquet(str(tmp_path / "scores")).collect()) == once


def test_sigterm_ends_the_stream_between_two_batches_with_exit_code_0(command, store, tmp_path):
    with running(command, store) as process:
        wait_for(lambda: batches(tmp_path) >= 3, process)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert batches(tmp_path) == len(list(tmp_path.glob("checkpoint/commits/[0-9]*")))
    assert f"scored {batches(tmp_path) * PER_FILE:,} leads" in said
    assert "Exception" not in errors


def test_sigterm_ends_the_wait_for_a_registry_with_exit_code_0(command, store):
    away = replace(store, tracking_uri="http://127.0.0.1:9")  # nobody listens at the port `discard`
    with running(command, away) as process:
        while '"registry"' not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert "asked to stop before the registry answered" in said
    assert "Traceback" not in errors


def test_a_refused_parameter_costs_one_line_and_exit_code_2(store):
    ended = store.run("stream", "--trigger", "soon")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: trigger 'soon' is no length of time")
    assert len(ended.stderr.splitlines()) == 1
