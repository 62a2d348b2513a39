"""How a stream is doing: what /healthz, /readyz and /metrics answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.runtime.progress import Finished

PREFIX = "lead_scoring"
ASLEEP_SECONDS = 60.0
SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


@dataclass
class Status:
    """What the supervisor last saw; written by its thread alone, read by those of the endpoints.

    `stuck_after` is how long (s) a batch or an epoch may take; times are monotonic. Nobody has `looked_at` a query
    before the first one runs: until then a registry that is awaited does not make the process unhealthy.
    """

    stuck_after: float
    version: int = 0
    serving: bool = False
    refused: str = ""
    registry: str = ""
    source: str = ""
    looked_at: float | None = None
    busy_since: float | None = None
    ended: bool = False

    def unhealthy(self) -> list[str]:
        """Why the process is of no more use and should be started again; empty where it is well."""
        found = ["the query has ended"] if self.ended else []
        asleep = time.monotonic() - self.looked_at if self.looked_at is not None else 0.0
        return [*found, *([f"the query was last looked after {asleep:.0f} s ago"] if asleep > ASLEEP_SECONDS else [])]

    def unready(self) -> list[str]:
        """Why somebody should look; empty where a good version serves, the alias names no other, and leads flow."""
        found = self.unhealthy()
        if not self.serving:
            found.append("no version serves yet")
        if self.refused:
            found.append(f"degraded: version {self.version} keeps serving, because {self.refused}")
        if self.source:
            found.append(self.source)
        busy = time.monotonic() - self.busy_since if self.busy_since is not None else 0.0
        if busy > self.stuck_after:
            found.append(f"stuck: the batch in hand has run for {busy:.0f} s")
        return found

    def as_dict(self) -> dict[str, Any]:
        """For the body of an answer. A registry that is down does not make a stream unready: it keeps serving."""
        return {"version": self.version, "problems": self.unready(), "registry": self.registry or "reachable"}


class Metrics:
    """Prometheus metrics of one stream, in a registry of their own."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.registry = at = CollectorRegistry()
        self._events = Counter(f"{PREFIX}_events", "events by what became of them", ["outcome"], registry=at)
        self._undelivered = Counter(f"{PREFIX}_undelivered_leads", "hot leads the webhook did not take", registry=at)
        self._unknown = Counter(f"{PREFIX}_unknown_categories", "answers that the model has not seen", registry=at)
        self._batches = Histogram(
            f"{PREFIX}_batch_seconds", "duration of micro-batches or epochs", buckets=SECONDS, registry=at
        )
        self._latency = Gauge(
            f"{PREFIX}_event_latency_seconds", "event to score, in the last batch", ["quantile"], registry=at
        )
        self._lag = Gauge(f"{PREFIX}_lag_events", "events behind Kafka's newest offsets", registry=at)
        self._reloads = Counter(f"{PREFIX}_reloads", "versions taken into service while running", registry=at)
        self._refused = Counter(f"{PREFIX}_refused_versions", "versions that were refused", registry=at)
        self._show("model_version", "the version that serves", lambda: status.version)
        self._show("degraded", "1 while the alias names a version that was refused", lambda: bool(status.refused))
        self._show("registry_up", "1 while the registry answers", lambda: not status.registry)
        self._show("ready", "1 while /readyz says so", lambda: not status.unready())

    def _show(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(f"{PREFIX}_{name}", text, registry=self.registry).set_function(lambda: float(read()))

    def batch(self, done: Finished) -> None:
        """Count a batch or an epoch."""
        self._events.labels("scored").inc(done.scored)
        self._events.labels("quarantined").inc(done.quarantined)
        self._unknown.inc(done.unknown_categories)
        self._batches.observe(done.milliseconds / 1000)
        for name, value in done.latency_ms.items():
            if value is not None:
                self._latency.labels(name).set(value / 1000)
        if done.lag is not None:
            self._lag.set(done.lag)

    def undelivered(self, leads: int) -> None:
        """Count hot leads that became dead letters as the webhook did not take them."""
        self._undelivered.inc(leads)

    def reloaded(self) -> None:
        """Count a version that was taken into service."""
        self._reloads.inc()

    def refused(self) -> None:
        """Count a version that was refused."""
        self._refused.inc()
