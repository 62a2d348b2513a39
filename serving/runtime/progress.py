"""What Spark reports of a batch or an epoch, as one record: rows, latency, durations, lag."""

import json
from dataclasses import dataclass
from typing import Any

from pyspark.sql.streaming.query import StreamingQuery

from serving.tally import NOTHING, OBSERVED, Tally


@dataclass(frozen=True)
class Finished:
    """A batch or an epoch that was committed; latency from an event's time to its score, ms, None without rows.

    `lag` counts the events behind the newest offsets of Kafka; None for files. `durations` (ms) are Spark's own.
    """

    number: int
    rows_in: int
    scored: int
    quarantined: int
    unknown_categories: int
    latency_ms: dict[str, int | None]
    durations: dict[str, int]
    lag: int | None

    @property
    def milliseconds(self) -> int:
        """How long it took, planning and checkpoint included."""
        return self.durations.get("triggerExecution", 0)


class ProgressReader:
    """Hands out every batch of one query once, in order. Spark keeps the last 100: call it often enough.

    `tallies` are those of micro-batches by their number, taken out as they are handed on; a real-time query's stand in
    Spark's own reports.
    """

    def __init__(self, tallies: dict[int, Tally] | None = None) -> None:
        self._newest, self._tallies = -1, {} if tallies is None else tallies

    def read(self, query: StreamingQuery) -> list[Finished]:
        """The batches that were committed since the last call."""
        reports, recent = [], query._jsq.recentProgress()
        # Newest first, and no further than needed: PySpark's recentProgress would turn 100 of them into objects.
        for place in reversed(range(len(recent))):
            report = recent[place]
            if report.batchId() <= self._newest:
                break
            reports.append(json.loads(report.json()))
        ended = [r for r in reversed(reports) if "addBatch" in r["durationMs"]]
        done = [finished(r, self._tallies.pop(int(r["batchId"]), None)) for r in ended]
        if done:
            self._newest = done[-1].number
        return done


def finished(report: dict[str, Any], tally: Tally | None = None) -> Finished:
    """A record of Spark's StreamingQueryProgress (as JSON); without `tally`, that of the report."""
    seen = report.get("observedMetrics", {}).get(OBSERVED)
    held = tally or (Tally.of(seen) if seen else NOTHING)
    return Finished(
        number=int(report["batchId"]),
        rows_in=held.rows,
        scored=held.scored,
        quarantined=held.refused,
        unknown_categories=held.unknown_categories,
        latency_ms=held.latency_ms,
        durations={name: int(value) for name, value in report["durationMs"].items()},
        lag=_lag(report.get("sources", [])),
    )


def _lag(sources: list[dict[str, Any]]) -> int | None:
    """Events behind the newest offsets, over all partitions; None where no source is Kafka's."""
    behind = [
        round(float(metrics["avgOffsetsBehindLatest"]) * _partitions(source.get("endOffset")))
        for source in sources
        if "avgOffsetsBehindLatest" in (metrics := source.get("metrics") or {})
    ]
    return sum(behind) if behind else None


def _partitions(offsets: Any) -> int:
    return sum(len(partitions) for partitions in offsets.values()) if isinstance(offsets, dict) else 0
