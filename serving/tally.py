"""What a micro-batch or an epoch held, counted as its rows pass: scores, refusals, latencies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

OBSERVED = "lead_scoring"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ACCURACY = 1000  # of percentile_approx: a rank is off by at most 1/1000 of the rows


@dataclass(frozen=True)
class Tally:
    """Rows and what became of them; latency from an event's time to its score, ms, None without rows.

    `origins` are the URIs of the files that gave rows, where these were asked for.
    """

    rows: int
    scored: int
    unknown_categories: int
    latency_ms: dict[str, int | None]
    origins: frozenset[str] = frozenset()

    @property
    def refused(self) -> int:
        """Rows that could not be scored."""
        return self.rows - self.scored

    @classmethod
    def of(cls, seen: Mapping[str, Any]) -> "Tally":
        """A tally from the values of `measures`."""
        quantiles = seen["quantiles"] or [None] * len(QUANTILES)
        return cls(
            rows=int(seen["rows"]),
            scored=int(seen["scored"]),
            unknown_categories=int(seen["unknown_categories"] or 0),
            latency_ms={**dict(zip(QUANTILES, quantiles, strict=True)), "max": seen["max"]},
            origins=frozenset(seen.get("origins", ())),
        )


NOTHING = Tally(0, 0, 0, dict.fromkeys([*QUANTILES, "max"]))


def measures(*, of_files: bool = False) -> list[Column]:
    """The aggregates of `Tally` over scored events (serving.scoring.scored_events); the files only if asked for."""
    latency = F.unix_millis("scored_at") - F.unix_millis("event_time")
    return [
        F.count(F.lit(1)).alias("rows"),
        F.count_if(F.col("reason").isNull()).alias("scored"),
        F.sum("unknown_categories").alias("unknown_categories"),
        F.percentile_approx(latency, list(QUANTILES.values()), ACCURACY).alias("quantiles"),
        F.max(latency).alias("max"),
        *([F.collect_set("origin").alias("origins")] if of_files else []),
    ]


def observed(scored: DataFrame) -> DataFrame:
    """The same rows, with `measures` gathered in Spark's own reports of every batch or epoch."""
    return scored.observe(OBSERVED, *measures())
