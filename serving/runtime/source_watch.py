"""Looks whether the folder that files arrive in is still there: Spark goes on without it, and says nothing."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from serving.runtime.journal import Journal
from serving.runtime.status import Status

EVERY_SECONDS, ENDING_SECONDS = 10.0, 5.0


@dataclass
class SourceWatch:
    """Asks `missing` every ten seconds, on a thread of its own: a storage that does not answer holds up nothing else.

    `missing` says what is wrong with the source, or nothing (""). A change stands in the log and in `status`.
    """

    missing: Callable[[], str]
    journal: Journal
    status: Status
    every: float = EVERY_SECONDS
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._keep_looking, name="source-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(ENDING_SECONDS)

    def look(self) -> None:
        """Ask once; raises nothing."""
        try:
            missing = self.missing()
        except Exception:  # a storage that does not answer says nothing of the folder
            return
        if missing != self.status.source:
            self.journal.say("source", state="missing" if missing else "there", reason=missing)
        self.status.source = missing

    def _keep_looking(self) -> None:
        while not self._ending.wait(self.every):
            self.look()
