"""Looks whether the folder that files arrive in is still there: Spark goes on without it, and says nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.runtime.journal import Journal
from serving.runtime.lookout import Lookout
from serving.runtime.status import Status

EVERY_SECONDS = 10.0


@dataclass
class SourceWatch(Lookout):
    """Asks `missing` every ten seconds, on a thread of its own: a storage that does not answer holds up nothing else.

    `missing` says what is wrong with the source, or nothing (""). A change stands in the log and in `status`.
    """

    missing: Callable[[], str]
    journal: Journal
    status: Status
    every: float = EVERY_SECONDS

    def look(self) -> None:
        """Ask once; raises nothing."""
        try:
            missing = self.missing()
        except Exception:  # a storage that does not answer says nothing of the folder
            return
        if missing != self.status.source:
            self.journal.say("source", state="missing" if missing else "there", reason=missing)
        self.status.source = missing
