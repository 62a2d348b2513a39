"""A server as a process of its own: started and awaited, stopped or killed with all its children, started again."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

HOST = "127.0.0.1"
TAIL_LINES = 20


class ServiceMissing(RuntimeError):
    """What a service is started from is not on this machine; the message names the remedy."""


class ServiceFailed(RuntimeError):
    """A service did not start or end in time; the message ends with the end of its log."""


class Service(ABC):
    """A server on 127.0.0.1 that keeps its port and its data while it is stopped, killed and started again.

    As a context manager it runs for the length of the block. ServiceMissing at construction where
    its programs are not here; ServiceFailed where it does not come up or go down in time.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_seconds: ClassVar[float] = 120  # on a busy machine ten times what a free one takes
    stop_seconds: ClassVar[float] = 30

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = -1
        self._logged = 0

    @abstractmethod
    def prepare(self) -> None:
        """Make what the first start needs; later starts find it and leave it alone."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Arguments of Popen: working folder, environment, user."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.prepare()
        self._logged = self.log.stat().st_size if self.log.exists() else 0
        # The server's processes inherit the writing end as stdin: the other end tells when the last of them has ended.
        self._ended, held = os.pipe()
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(), stdin=held, stdout=log, stderr=log, start_new_session=True, **self.options()
                )
        finally:
            os.close(held)
        try:
            self._await_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the server to end and wait until all of it has; nothing where it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server without warning, as a crash would; nothing where it does not run."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port and data."""
        self.stop()
        self.start()

    def said(self) -> str:
        """The log since the last start."""
        return self.log.read_bytes()[self._logged :].decode(errors="replace") if self.log.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self.start_seconds
        while process.poll() is None:
            if self.is_ready():
                return
            if time.monotonic() > end:
                raise self._failure(f"did not answer within {self.start_seconds:g} s")
            time.sleep(0.05)
        raise self._failure(f"ended with code {process.returncode} before it answered")

    def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        signal_group(process.pid, signum)
        in_time = bool(select.select([self._ended], [], [], self.stop_seconds)[0])
        if not in_time:
            signal_group(process.pid, signal.SIGKILL)
        process.wait(self.stop_seconds)
        os.close(self._ended)
        if not in_time:
            raise self._failure(f"did not end within {self.stop_seconds:g} s of {signum.name}")

    def _failure(self, found: str) -> ServiceFailed:
        tail = "\n".join(self.said().splitlines()[-TAIL_LINES:])
        return ServiceFailed(f"{type(self).__name__} on port {self.port} {found}; the end of {self.log}:\n{tail}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on, all different."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(count)]


def signal_group(group: int, signum: signal.Signals) -> None:
    """Send a signal to a process group; nothing where it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signum)


def run_once(command: list[str], **options: Any) -> None:
    """Run a command that prepares a service; ServiceFailed with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    if done.returncode:
        raise ServiceFailed(f"{' '.join(command)} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
