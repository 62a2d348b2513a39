"""Runs a scoring query for as long as it is wanted, and swaps the version under it between two batches."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyspark.sql import DataFrame

from serving.queries import Durations, Running
from serving.runtime.journal import Journal
from serving.runtime.lease import Lease
from serving.runtime.progress import ProgressReader
from serving.runtime.status import Metrics, Status
from serving.runtime.watch import Served, Watch

LOOK_SECONDS = 0.1


@dataclass
class Totals:
    """What went through since the start: leads scored, micro-batches or epochs, their durations, the versions."""

    rows: int = 0
    batches: int = 0
    durations: Durations = field(default_factory=Durations)
    versions: list[int] = field(default_factory=list)


@dataclass
class Supervisor:
    """Starts the query of a version, and that of the next one on the same checkpoint when `watch` has it.

    A query is ended only between two batches or epochs, except where `stop` was set more than `drain` seconds ago, or
    the lease is lost. `watch` is None where the version is fixed.
    """

    start: Callable[[Served[DataFrame]], Running]
    stop: threading.Event
    lease: Lease
    watch: Watch[DataFrame] | None
    journal: Journal
    status: Status
    metrics: Metrics
    drain: float
    totals: Totals = field(default_factory=Totals)
    _stopped: float | None = field(default=None, init=False)  # when `stop` was seen

    def run(self, first: Served[DataFrame]) -> Totals:
        """Serve until the query ends by itself or `stop` is set; what ends a query by a failure is raised.

        LeaseLost where another scorer may have the checkpoint.
        """
        served: Served[DataFrame] | None = first
        try:
            while served is not None:
                version = served.version.version
                asked = self._attend(self.start(served), version)
                served = self._next(served) if asked and not self.stop.is_set() else None
        finally:
            self.status.ended = True
        return self.totals

    def _next(self, before: Served[DataFrame]) -> Served[DataFrame]:
        """The version to go on with; the one before where the alias went back to it meanwhile."""
        found = self.watch.take() if self.watch else None
        if found is None:
            return before
        self.metrics.reloaded()
        self.journal.say("reloaded", version=found.version.version, replaced=before.version.version)
        return found

    def _attend(self, running: Running, version: int) -> bool:
        """Look after a query until it has ended; whether it was asked to."""
        progress = ProgressReader(running.writer.tallies if running.writer else None)
        self.totals.versions.append(version)
        self.status.version, self.status.serving, self.status.busy_since = version, True, time.monotonic()
        try:
            while not running.ended(LOOK_SECONDS):
                self.lease.check()
                self._note(running, progress, version)
                self._end_if_wanted(running)
        except Exception:
            self.lease.check()  # a batch that was refused for the lease's sake ends the query by Spark's own error
            raise
        finally:
            running.end_now()
            self._note(running, progress, version)
        return running.asked

    def _end_if_wanted(self, running: Running) -> None:
        if self.stop.is_set() or (self.watch is not None and self.watch.found()):
            running.ask_to_end()
        if not self.stop.is_set():
            return
        if self._stopped is None:
            self._stopped = time.monotonic()  # a query may have been asked to end long before, for another version
        if time.monotonic() - self._stopped > self.drain:
            running.end_now()

    def _note(self, running: Running, progress: ProgressReader, version: int) -> None:
        for done in progress.read(running.query):
            self.totals.rows += done.scored
            self.totals.batches += 1
            self.totals.durations.milliseconds.append(done.milliseconds)
            self.metrics.batch(done)
            self.journal.batch(done, version)
            self.status.busy_since = time.monotonic()
        if not running.query.isActive or not running.query.status["isTriggerActive"]:
            self.status.busy_since = None
        elif self.status.busy_since is None:
            self.status.busy_since = time.monotonic()
        if self.watch is not None:
            self._note_watch(self.watch)
        self.status.looked_at = time.monotonic()

    def _note_watch(self, watch: Watch[DataFrame]) -> None:
        refused = watch.refused.reason if watch.refused else ""
        if refused and refused != self.status.refused:
            self.metrics.refused()
        self.status.refused, self.status.registry = refused, watch.unreachable
