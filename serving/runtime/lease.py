"""The right to run a checkpoint: one scorer's at a time, given up with its process or taken over when it expires."""

import fcntl
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import unquote, urlsplit

from features.storage import DamagedFile, MissingPath, Storage, join
from serving.errors import ServingError

LOCK, LEASE = "_lead_scoring.lock", "_lead_scoring_lease.json"
EXPIRY_SECONDS = 15.0
BEATS_PER_EXPIRY = 3


class CheckpointInUse(ServingError):
    """Another scorer runs the checkpoint."""


class LeaseLost(ServingError):
    """The checkpoint may belong to another scorer by now; nothing more is written."""


class Lease(Protocol):
    """The right to run one checkpoint, as a context manager: taken at its start, given back at its end."""

    def check(self) -> None:
        """LeaseLost where the right is not certain any more."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def lease(storage: Storage, checkpoint: str, expiry: float = EXPIRY_SECONDS) -> Lease:
    """The lease of a checkpoint (an absolute URI): a lock on this machine's disks, a lease file anywhere else."""
    parts = urlsplit(checkpoint)
    if parts.scheme == "file":
        return FileLock(Path(unquote(parts.path)))
    return LeaseFile(storage, checkpoint, expiry)


class FileLock:
    """A lock on a file in the checkpoint folder, which the system frees when the process ends, however it ends."""

    def __init__(self, checkpoint: Path) -> None:
        self._path = checkpoint / LOCK
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take it; CheckpointInUse names the process that has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while not self._is_ours():
            self._close()
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
                self._close()
                raise _in_use(str(self._path.parent), holder) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, _me().encode())
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._is_ours():
                self._path.unlink()
                self._path.parent.rmdir()  # stays where it holds anything
        self._close()

    def check(self) -> None:
        """LeaseLost where the checkpoint folder was taken away or replaced."""
        if not self._is_ours():
            raise LeaseLost(f"the lock {self._path} is gone: the checkpoint folder was moved or deleted while in use.")

    def _is_ours(self) -> bool:
        """Whether the file that we hold is the one that a newcomer would find."""
        try:
            return self._descriptor >= 0 and os.fstat(self._descriptor).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class LeaseFile:
    """A file beside the checkpoint that its holder rewrites three times in `expiry` seconds, with a rising count.

    A newcomer watches it: a count that rises means a living holder; one that stands still for `expiry` seconds, by
    the newcomer's own clock, means a dead one, whose place it takes. So no two clocks are compared. The holder counts
    itself out `expiry` seconds after the beginning of its last good beat, which is before anybody may follow it.
    """

    def __init__(self, storage: Storage, checkpoint: str, expiry: float = EXPIRY_SECONDS) -> None:
        self._storage, self._checkpoint, self._expiry = storage, checkpoint, expiry
        self._file, self._id = join(checkpoint, LEASE), uuid.uuid4().hex
        self._beat, self._valid_until = 0, 0.0
        self._taken_by = ""
        self._ending = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Take it, after waiting up to `expiry` seconds for a holder that may be dead; CheckpointInUse if it lives."""
        found = self._seen()
        if found is not None:
            self._await_expiry(found)
        self._write()
        # Of two that took it at once, the later one's file stays.
        time.sleep(self._expiry / BEATS_PER_EXPIRY / 2)
        found = self._read() or {}
        if found.get("id") != self._id:
            raise _in_use(self._checkpoint, str(found.get("holder", "")))
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._heart.join(self._expiry)
        with suppress(Exception):  # it expires by itself
            if (self._read() or {}).get("id") == self._id:
                self._storage.delete(self._file)

    def check(self) -> None:
        """LeaseLost where another scorer has taken the lease, or could have."""
        if self._taken_by:
            raise LeaseLost(f"another scorer ({self._taken_by}) has taken over the checkpoint {self._checkpoint}.")
        if time.monotonic() > self._valid_until:
            raise LeaseLost(
                f"the lease {self._file} could not be renewed for {self._expiry:g} s, so another scorer may run the "
                "checkpoint by now; check its storage, and start again."
            )

    def _await_expiry(self, first: dict[str, Any]) -> None:
        seen, since = (first.get("id"), first.get("beat")), time.monotonic()
        while time.monotonic() - since < self._expiry:
            time.sleep(self._expiry / BEATS_PER_EXPIRY / 4)
            found = self._seen()
            if found is None:
                return
            if (found.get("id"), found.get("beat")) != seen:
                # A look may fall into a beat, and find half a file.
                raise _in_use(self._checkpoint, str((found if "id" in found else first).get("holder", "")))

    def _keep_beating(self) -> None:
        while not self._ending.wait(self._expiry / BEATS_PER_EXPIRY):
            with suppress(Exception):  # storage that fails for a moment; `check` knows how long it did
                found = self._read()
                if found is not None and found.get("id", self._id) != self._id:
                    self._taken_by = str(found.get("holder", "unknown"))
                    return
                self._write()

    def _seen(self) -> dict[str, Any] | None:
        """What a newcomer finds; None only where a second look finds nothing either.

        Many a storage replaces a file by deleting the old one first, so that there is none for a moment of each beat.
        """
        found = self._read()
        if found is None:
            time.sleep(self._expiry / BEATS_PER_EXPIRY / 4)
            found = self._read()
        return found

    def _read(self) -> dict[str, Any] | None:
        try:
            return self._storage.read_json(self._file)
        except MissingPath:
            return None
        except (ValueError, DamagedFile):  # damaged: nobody's, but only after `expiry` seconds
            return {"holder": "a scorer whose lease file is damaged"}

    def _write(self) -> None:
        start = time.monotonic()
        self._beat += 1
        self._storage.write_json(self._file, {"id": self._id, "beat": self._beat, "holder": _me()})
        self._valid_until = start + self._expiry


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _in_use(checkpoint: str, holder: str) -> CheckpointInUse:
    return CheckpointInUse(
        f"the checkpoint {checkpoint} is in use by {holder or 'another scorer'}; two scorers would write the same "
        "batches. Stop that one first, or name another checkpoint and output."
    )
