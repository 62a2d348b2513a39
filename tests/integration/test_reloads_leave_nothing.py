"""Fifty promotions under a running stream: memory, open files and temporary files stay flat."""

import gc
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from pipelines.settings import Settings
from pipelines.stream import run_stream
from pipelines.stream_options import StreamOptions
from serving.runtime.supervisor import Supervisor
from serving.runtime.watch import Served
from tests.leads import small_leads
from tests.served import register_small, served, small_model, write_files

WARM_UP, RELOADS = 10, 50
COLLECTIONS = 6
MEGABYTE = 2**20


@dataclass
class Footprint:
    """What a process holds: MB of Java's heap after a collection, of its classes and of Python, open files of both,
    temporary files.
    """

    heap_mb: float
    classes_mb: float
    python_mb: float
    files: int
    temporary: int

    @classmethod
    def of(cls, spark: SparkSession, temporary: Path) -> "Footprint":
        gc.collect()
        java = spark._jvm.java.lang
        runtime, used = java.Runtime.getRuntime(), []
        for _ in range(COLLECTIONS):  # what Spark drops by weak references takes some of them
            java.System.gc()
            time.sleep(0.5)
            used.append((runtime.totalMemory() - runtime.freeMemory()) / MEGABYTE)
        java_pid = int(java.ProcessHandle.current().pid())
        files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), java_pid))
        pools = java.management.ManagementFactory.getMemoryPoolMXBeans()
        (classes,) = (pool.getUsage().getUsed() / MEGABYTE for pool in pools if pool.getName() == "Metaspace")
        python = psutil.Process().memory_info().rss / MEGABYTE
        return cls(min(used), classes, python, files, sum(1 for _ in temporary.rglob("*")))


def fifty_reloads(spark: SparkSession, settings: Settings, temporary: Path, monkeypatch) -> tuple[Footprint, Footprint]:
    """Promote the other of two versions whenever one has taken over, and let each score a file."""
    client, stop, found = MlflowClient(), threading.Event(), {}
    step, taken = Supervisor._next, []

    def promote_the_other(supervisor: Supervisor, before: Served) -> Served:
        after = step(supervisor, before)
        taken.append(after.version.version)
        if len(taken) in (WARM_UP, RELOADS):
            found[len(taken)] = Footprint.of(spark, temporary)
        if len(taken) == RELOADS:
            stop.set()
        shutil.copy(Path(settings.stream, "part-000.parquet"), Path(settings.stream, f"more-{len(taken):03d}.parquet"))
        other = 3 - after.version.version
        client.set_registered_model_alias(settings.model_name, "Production", str(other))
        return after

    monkeypatch.setattr(Supervisor, "_next", promote_the_other)
    client.set_registered_model_alias(settings.model_name, "Production", "1")
    first = threading.Timer(1, client.set_registered_model_alias, (settings.model_name, "Production", "2"))
    first.start()
    options = StreamOptions(sink="parquet", trigger="0 seconds", poll="20 ms")
    summary = run_stream(spark, settings, options, stop, report=lambda batch: None)
    first.join()
    assert taken == [2, 1] * (RELOADS // 2)
    assert summary.rows >= 5 * WARM_UP
    return found[WARM_UP], found[RELOADS]


def test_fifty_hot_reloads_leave_memory_open_files_and_temp_folder_flat(spark, tmp_path, monkeypatch, capsys):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("MLFLOW_DFS_TMP", str(temporary / "shared"))
    model = small_model(spark)
    with served(spark, tmp_path, model) as settings:
        register_small(spark, settings, settings.model_name, model)
        write_files(small_leads(spark, 5), Path(settings.stream), 1)
        before, after = fifty_reloads(spark, settings, temporary, monkeypatch)
    with capsys.disabled():
        print(f"\nafter {WARM_UP} reloads: {before}; after {RELOADS}: {after}")
    assert after.temporary <= before.temporary
    assert after.files <= before.files + 8
    assert after.heap_mb <= before.heap_mb + 30
    assert after.classes_mb <= before.classes_mb + 10
    assert after.python_mb <= before.python_mb + 20
