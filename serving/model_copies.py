"""Temporary copies of models: gone when read; what a killed process left goes at the next start."""

import fcntl
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlflow.environment_variables import MLFLOW_DFS_TMP

from features.storage import Storage, join

PREFIX = "lead-scoring-model-"
IN_USE = "in-use.lock"
JUST_MADE_SECONDS = 60
STAMP = "%Y%m%dT%H%M%SZ"
SHARED = re.compile(rf"{PREFIX}(\d{{8}}T\d{{6}}Z)-[0-9a-f]{{32}}")
OLDEST_SHARED = timedelta(days=1)


@contextmanager
def local_copy() -> Iterator[str]:
    """A folder of its own under TMPDIR, gone at the end of the block.

    A lock on a file in it tells every process of this machine, in any container that shares the folder, that it is
    in use; the lock dies with the process that holds it.
    """
    made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    with made as folder, Path(folder, IN_USE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def shared_copy() -> str:
    """A place for a copy on the cluster's file system (MLFLOW_DFS_TMP); its name says when it was made."""
    return join(MLFLOW_DFS_TMP.get(), f"{PREFIX}{datetime.now(UTC).strftime(STAMP)}-{uuid.uuid4().hex}")


def remove_abandoned(storage: Storage, now: datetime | None = None) -> list[str]:
    """Remove the copies that killed processes left, and say which these were; what is in use stays.

    On this machine these are folders whose lock nobody holds. On the cluster's file system, where there are no
    locks, those made more than a day ago: a copy lives for as long as a model takes to load.
    """
    removed = [str(folder) for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _abandoned(folder)]
    for folder in removed:
        shutil.rmtree(folder, ignore_errors=True)
    oldest = (now or datetime.now(UTC)) - OLDEST_SHARED
    for entry in storage.list(MLFLOW_DFS_TMP.get()):
        made = SHARED.fullmatch(entry.name)
        if made and datetime.strptime(made[1], STAMP).replace(tzinfo=UTC) < oldest:
            storage.delete(entry.uri)
            removed.append(entry.uri)
    return removed


def _abandoned(folder: Path) -> bool:
    with suppress(OSError):  # gone meanwhile, or another user's
        # A folder is made before it is locked.
        if time.time() - folder.stat().st_mtime < JUST_MADE_SECONDS:
            return False
        descriptor = os.open(folder / IN_USE, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        finally:
            os.close(descriptor)
    return False
