"""The lock of a checkpoint on a local disk: one holder, gone with its process."""

import shutil
import subprocess
import sys

import pytest

from pipelines.settings import ROOT
from serving.runtime.lease import LOCK, CheckpointInUse, FileLock, LeaseLost

HOLDER = """
import pathlib, sys
from serving.runtime.lease import FileLock
with FileLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_scorer_is_refused_and_told_who_has_the_checkpoint(tmp_path):
    with FileLock(tmp_path), pytest.raises(CheckpointInUse, match="in use by process"):
        FileLock(tmp_path).__enter__()


def test_the_end_of_the_block_gives_it_back(tmp_path):
    with FileLock(tmp_path):
        pass
    with FileLock(tmp_path) as lock:
        assert lock.check() is None  # it raises where the lock is lost


def test_a_folder_that_was_made_for_the_lock_alone_goes_with_it(tmp_path):
    with FileLock(tmp_path / "checkpoint"):
        pass
    assert not (tmp_path / "checkpoint").exists()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointInUse, match=f"process {process.pid}"):
            FileLock(tmp_path).__enter__()
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).exists()
    with FileLock(tmp_path) as lock:
        lock.check()


def test_a_checkpoint_that_is_taken_away_is_lost(tmp_path):
    folder = tmp_path / "checkpoint"
    with FileLock(folder) as lock:
        shutil.rmtree(folder)
        with pytest.raises(LeaseLost, match="moved or deleted"):
            lock.check()


def test_the_holder_of_a_deleted_lock_file_is_found_out_by_a_newcomer(tmp_path):
    with FileLock(tmp_path) as first:
        (tmp_path / LOCK).unlink()
        with FileLock(tmp_path) as second:
            second.check()
            with pytest.raises(LeaseLost):
                first.check()
