"""What Spark reports of a batch or an epoch, as one record: rows, latency, durations, lag."""

import json
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

OBSERVED = "lead_scoring"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ACCURACY = 1000  # of percentile_approx: a rank is off by at most 1/1000 of the rows


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


def observed(scored: DataFrame) -> DataFrame:
    """The same rows (serving.scoring.scored_events), with counts and latencies gathered as they pass, for `read`."""
    latency = F.unix_millis("scored_at") - F.unix_millis("event_time")
    return scored.observe(
        OBSERVED,
        F.count(F.lit(1)).alias("rows"),
        F.count_if(F.col("reason").isNull()).alias("scored"),
        F.sum("unknown_categories").alias("unknown_categories"),
        F.percentile_approx(latency, list(QUANTILES.values()), ACCURACY).alias("quantiles"),
        F.max(latency).alias("max"),
    )


class ProgressReader:
    """Hands out every batch of one query once, in order. Spark keeps the last 100: call it often enough."""

    def __init__(self) -> None:
        self._newest = -1

    def read(self, query: StreamingQuery) -> list[Finished]:
        """The batches that were committed since the last call."""
        reports = []
        # Newest first, one call each: PySpark's recentProgress would turn 100 of them into objects.
        for report in reversed(list(query._jsq.recentProgress())):
            if report.batchId() <= self._newest:
                break
            reports.append(json.loads(report.json()))
        done = [finished(r) for r in reversed(reports) if "addBatch" in r["durationMs"]]
        if done:
            self._newest = done[-1].number
        return done


def finished(report: dict[str, Any]) -> Finished:
    """A record of Spark's StreamingQueryProgress (as JSON)."""
    seen = report.get("observedMetrics", {}).get(OBSERVED) or {}
    quantiles = seen.get("quantiles") or [None] * len(QUANTILES)
    rows, scored = int(seen.get("rows") or 0), int(seen.get("scored") or 0)
    return Finished(
        number=int(report["batchId"]),
        rows_in=rows,
        scored=scored,
        quarantined=rows - scored,
        unknown_categories=int(seen.get("unknown_categories") or 0),
        latency_ms={**dict(zip(QUANTILES, quantiles, strict=True)), "max": seen.get("max")},
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
