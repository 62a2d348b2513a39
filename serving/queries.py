"""Micro-batch queries: their trigger, what happens to a batch, and the end at the end of a batch."""

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from serving.errors import ServingError
from serving.sinks import Sink
from serving.sources import naming_unreadable_files

UNITS_MS = {"ms": 1, "millisecond": 1, "s": 1000, "second": 1000, "min": 60_000, "minute": 60_000, "hour": 3_600_000}
POLL_SECONDS = 0.2
PROGRESS_EVERY_SECONDS = 5.0  # Spark keeps the last 100 batches' progress
KEPT_DURATIONS = 100_000
QUERY_LOGGER = "org.apache.spark.sql.execution.streaming.runtime.MicroBatchExecution"


class BadTrigger(ServingError):
    """A trigger is not a length of time."""


@dataclass(frozen=True)
class Batch:
    """One scored micro-batch: its number, its rows, and the seconds from its call to its last sink."""

    number: int
    rows: int
    seconds: float


@dataclass
class BatchWriter:
    """Hands every micro-batch to the sinks and counts what went through; the function of foreachBatch.

    Once `stop` is set it refuses the next batch, by an exception: to return without writing would
    let Spark commit a batch that no sink has seen. Spark repeats a refused batch at the next start.
    """

    sinks: Sequence[Sink]
    stop: threading.Event
    report: Callable[[Batch], None]
    rows: int = 0
    batches: int = 0
    refused: bool = False

    def __call__(self, batch: DataFrame, number: int) -> None:
        """Write one micro-batch to every sink."""
        if self.stop.is_set():
            self.refused = True
            raise InterruptedError("stop requested")
        start = time.monotonic()
        # The console reads a batch twice: score it once.
        kept = batch.persist() if len(self.sinks) > 1 else batch
        try:
            rows = max(sink.write(kept, number) for sink in self.sinks)
        finally:
            if kept is not batch:
                kept.unpersist()
        self.rows += rows
        self.batches += 1
        self.report(Batch(number, rows, time.monotonic() - start))


@dataclass
class Durations:
    """How long whole micro-batches took, in ms, planning and checkpoint included; the last 100,000 are kept."""

    milliseconds: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT_DURATIONS))
    newest: int = -1

    def read(self, query: StreamingQuery) -> None:
        """Take in the batches that ended since the last call."""
        for progress in query.recentProgress:
            if progress["batchId"] > self.newest and "addBatch" in progress["durationMs"]:
                self.newest = progress["batchId"]
                self.milliseconds.append(progress["durationMs"]["triggerExecution"])

    def quantile(self, share: float) -> float:
        """The smallest duration that at least `share` of the batches did not exceed; 0 where there were none."""
        ordered = sorted(self.milliseconds)
        return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)]) if ordered else 0.0


def parse_trigger(text: str) -> int:
    """Milliseconds of a trigger such as "30 seconds", "500 ms" or "1 minute"; 0 starts batches back to back."""
    match = re.fullmatch(rf"\s*(\d{{1,9}})\s*({'|'.join(UNITS_MS)})s?\s*", text.lower())
    if not match:
        raise BadTrigger(
            f"trigger {text!r} is no length of time; give a whole number and a unit, such as '30 seconds', "
            "'500 milliseconds' or '1 minute'."
        )
    return int(match[1]) * UNITS_MS[match[2]]


def start_query(scored: DataFrame, writer: BatchWriter, checkpoint: str, trigger_ms: int | None) -> StreamingQuery:
    """Start a query that writes every micro-batch; `trigger_ms` None: all that is there now, then end."""
    _leave_failures_to_the_caller(scored.sparkSession)
    stream = scored.writeStream.foreachBatch(writer).option("checkpointLocation", checkpoint)
    if trigger_ms is None:
        return stream.trigger(availableNow=True).start()
    return stream.trigger(processingTime=f"{trigger_ms} milliseconds").start()


def await_end(query: StreamingQuery, writer: BatchWriter) -> Durations:
    """Wait until a query ends by itself, or at the end of a batch once `writer.stop` is set.

    BadSource where a file of the source could not be read; other failures are raised as Spark words them.
    """
    durations, read = Durations(), time.monotonic()
    try:
        with naming_unreadable_files():
            while not query.awaitTermination(POLL_SECONDS):  # type: ignore[arg-type]  # takes fractions too
                if writer.stop.is_set() and not query.status["isTriggerActive"]:
                    query.stop()
                if time.monotonic() - read > PROGRESS_EVERY_SECONDS:
                    durations.read(query)
                    read = time.monotonic()
    except StreamingQueryException:
        if not writer.refused:
            raise
    finally:
        if query.isActive:
            query.stop()
    durations.read(query)
    return durations


def _leave_failures_to_the_caller(spark: SparkSession) -> None:
    """Keep Spark from logging, with its stack, what ends a query: `await_end` raises it, or it was a stop."""
    log4j: Any = spark._jvm.org.apache.logging.log4j  # type: ignore[union-attr]
    log4j.core.config.Configurator.setLevel(QUERY_LOGGER, log4j.Level.OFF)
