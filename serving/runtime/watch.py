"""Watches which version an alias names, and gets a new one ready beside the one that serves."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving.errors import Away, ServingError, StopAsked, one_line
from serving.registry import NoSuchAlias, NoSuchModel, NoSuchVersion, ResolvedVersion
from serving.runtime.lookout import Lookout

FIRST_WAIT_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
RETRY_REFUSED_SECONDS, LONGEST_RETRY_SECONDS = 60.0, 900.0
# What serves: a query's plan, or a scorer.
Work = TypeVar("Work")


class StillAway(ServingError):
    """The registry, its artifact store or Kafka did not answer for as long as a start may wait."""


@dataclass(frozen=True)
class Server:
    """Who is waited for at a start: the event in the log, its name in a sentence, and where it is named."""

    event: str
    name: str
    variable: str


REGISTRY = Server("registry", "the registry", "MLFLOW_TRACKING_URI")
KAFKA = Server("kafka", "Kafka", "LEADS_KAFKA or LEADS_KAFKA_PROTOCOL")


@dataclass(frozen=True)
class Refused:
    """A version that must not serve (0: the alias names none), why, and when (monotonic) it is looked at again."""

    version: int
    reason: str
    pause: float
    next_try: float

    def is_due(self, version: int) -> bool:
        """Whether a version that the alias names is to be looked at: it is another one, or enough time has passed."""
        return version != self.version or time.monotonic() >= self.next_try


@dataclass(frozen=True)
class Served(Generic[Work]):
    """A version together with what serves it, ready to start."""

    version: ResolvedVersion
    work: Work


Answer = TypeVar("Answer")
Resolve = Callable[[], ResolvedVersion]


def await_server(
    ask: Callable[[], Answer],
    longest: float,
    say: Callable[..., None],
    stop: threading.Event,
    silence: type[Exception] = Exception,
    server: Server = REGISTRY,
) -> Answer:
    """What a server answers, asked again at growing intervals while it does not.

    StillAway after `longest` seconds, StopAsked soon after `stop` is set. No answer is an error of the kind
    `silence`, but our own errors about what the server holds are one, raised at once; of these, Away alone is none.
    """
    end, pause = time.monotonic() + longest, FIRST_WAIT_SECONDS
    while True:
        try:
            return ask()
        except silence as error:  # MLflow, requests, SQLAlchemy and the network each raise their own
            if isinstance(error, ServingError) and not isinstance(error, Away):
                raise
            left = end - time.monotonic()
            if stop.is_set():
                raise StopAsked(f"asked to stop before {server.name} answered ({one_line(error)}).") from error
            if left <= 0:
                raise StillAway(
                    f"{server.name} did not answer within {longest:g} s ({one_line(error)}). Start it, correct "
                    f"{server.variable}, or wait longer (registry_wait)."
                ) from error
            say(server.event, state="unreachable", reason=one_line(error), next_try_seconds=round(min(pause, left), 1))
            stop.wait(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@dataclass
class Watch(Lookout, Generic[Work]):
    """Asks every `every` seconds which version an alias names; a new one is made ready on the watching thread.

    `ready` loads and probes a version, and raises where it must not serve. That version is
    refused: it is looked at again only after a minute, then after twice as long each time, up to a quarter of an
    hour, as its artifact may not have been all there yet. Where `ready` raises Away the version is not refused: its
    store is down, as the registry may be, and the next look asks again. A version that the alias names no more when it
    is ready is let go.
    """

    resolve: Resolve
    ready: Callable[[ResolvedVersion], Served[Work]]
    serving: ResolvedVersion
    every: float
    say: Callable[..., None]
    refused: Refused | None = None
    unreachable: str = ""
    retry_after: float = RETRY_REFUSED_SECONDS
    _found: Served[Work] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self) -> bool:
        """Whether a new version is ready."""
        return self._found is not None

    def take(self) -> Served[Work] | None:
        """The new version, once; from then on it is the one that serves."""
        with self._lock:
            found, self._found = self._found, None
            if found is not None:
                self.serving = found.version
            return found

    def look(self) -> None:
        """Ask once, and make what is new ready; raises nothing."""
        try:
            named = self.resolve()
        except (NoSuchModel, NoSuchAlias, NoSuchVersion) as error:
            self._reached()
            with self._lock:
                self._found = None  # and was not taken yet
            self._refuse(0, error)
        except Exception as error:  # MLflow, requests, SQLAlchemy and the network each raise their own
            self._unanswered(error)
        else:
            self._consider(named)

    def _unanswered(self, error: Exception) -> None:
        if not self.unreachable:
            self.say("registry", state="unreachable", reason=one_line(error), serving=self.serving.version)
        self.unreachable = one_line(error)

    def _reached(self) -> None:
        if self.unreachable:
            self.say("registry", state="reachable", serving=self.serving.version)
        self.unreachable = ""

    def _consider(self, named: ResolvedVersion) -> None:
        with self._lock:
            if self._found is not None and self._found.version.version != named.version:
                self._found = None  # promoted away before it was taken
            known = self._found is not None or named.version == self.serving.version
        if not known and (self.refused is None or self.refused.is_due(named.version)):
            self._make_ready(named)
            return
        self._reached()
        if known:
            self.refused = None

    def _make_ready(self, named: ResolvedVersion) -> None:
        try:
            found = self.ready(named)
        except Away as error:  # the artifact store is down, which says nothing of the version
            self._unanswered(error)
            return
        except Exception as error:  # whatever loading or scoring raises: the one that serves is not touched
            self._reached()
            self._refuse(named.version, error)
            return
        self._reached()
        if self._is_named(named):  # or the alias moved on while it was made ready: the next look sees where to
            with self._lock:
                self._found, self.refused = found, None

    def _is_named(self, version: ResolvedVersion) -> bool:
        """Whether the alias still names a version; a registry that does not answer has taken nothing back."""
        try:
            return self.resolve().version == version.version
        except (NoSuchModel, NoSuchAlias, NoSuchVersion):
            return False
        except Exception:  # as in look
            return True

    def _refuse(self, version: int, error: Exception) -> None:
        before = self.refused if self.refused and self.refused.version == version else None
        pause = min(before.pause * 2, LONGEST_RETRY_SECONDS) if before else self.retry_after
        self.refused = Refused(version, one_line(error), pause, time.monotonic() + pause)
        if before is None or before.reason != self.refused.reason:
            self.say("refused", version=version, reason=self.refused.reason, serving=self.serving.version)
