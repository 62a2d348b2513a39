"""Spark's local file system sets permissions without starting a process per file."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.local_files import NAME, set_permissions_in_java


def file_system(spark: SparkSession) -> Any:
    jvm: Any = spark._jvm
    return jvm.org.apache.hadoop.fs.FileSystem.get(jvm.java.net.URI("file:///"), spark._jsc.hadoopConfiguration())


@pytest.fixture
def files(spark: SparkSession) -> Any:
    return file_system(spark)


@pytest.fixture
def at(spark: SparkSession, tmp_path: Path) -> Any:
    jvm: Any = spark._jvm
    return lambda name: jvm.org.apache.hadoop.fs.Path(str(tmp_path / name))


def _permission(spark: SparkSession, octal: str) -> Any:
    jvm: Any = spark._jvm
    return jvm.org.apache.hadoop.fs.permission.FsPermission(octal)


def _mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_checkpoints_are_written_by_the_file_system(spark: SparkSession) -> None:
    manager = spark.conf.get("spark.sql.streaming.checkpointFileManagerClass")
    assert manager is not None
    assert manager.endswith(".FileSystemBasedCheckpointFileManager")


def test_session_uses_it(files: Any) -> None:
    assert files.getClass().getName() == NAME


def test_a_path_finds_it_without_the_session_s_settings(spark: SparkSession, at: Any) -> None:
    jvm: Any = spark._jvm
    found = at("x").getFileSystem(jvm.org.apache.hadoop.conf.Configuration())
    assert found.getClass().getName() == NAME


def test_installing_twice_keeps_the_file_system_that_is_in_use(spark: SparkSession, files: Any) -> None:
    set_permissions_in_java(spark)
    assert file_system(spark).hashCode() == files.hashCode()


@pytest.mark.parametrize("octal", ["700", "750", "644", "000"])
def test_permissions_are_set(spark: SparkSession, files: Any, at: Any, tmp_path: Path, octal: str) -> None:
    files.mkdirs(at("made"))
    files.setPermission(at("made"), _permission(spark, octal))
    assert _mode(tmp_path / "made") == int(octal, 8)


def test_sticky_bit_is_set_as_hadoop_does(spark: SparkSession, files: Any, at: Any, tmp_path: Path) -> None:
    files.mkdirs(at("made"))
    files.setPermission(at("made"), _permission(spark, "1755"))
    assert _mode(tmp_path / "made") == 0o1755


def test_umask_holds(spark: SparkSession, files: Any, at: Any, tmp_path: Path) -> None:
    files.create(at("file")).close()
    umask = os.umask(0)
    os.umask(umask)
    assert _mode(tmp_path / "file") == 0o666 & ~umask


def test_permission_of_a_file_that_is_not_there_is_an_error(spark: SparkSession, files: Any, at: Any) -> None:
    with pytest.raises(Exception, match="NoSuchFile"):
        files.setPermission(at("nowhere"), _permission(spark, "700"))


def test_no_process_is_started(spark: SparkSession, at: Any, files: Any) -> None:
    before = _started()
    for number in range(1000):
        files.mkdirs(at(f"made-{number}"))
    assert _started() - before < 1000  # other processes of the machine start some


def _started() -> int:
    """Processes that this machine has started since it was."""
    path = Path("/proc/stat")
    if not path.exists():
        pytest.skip("this system does not count processes in /proc/stat")
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("processes"))
