"""Streaming queries in both modes: their triggers, what happens to a micro-batch, and an orderly end."""

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import Column, DataFrame, Observation, Row, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from features.storage import NoRoom, no_room
from serving import callback_sockets
from serving.dead_letters import DeadLetterSink
from serving.errors import ServingError, StopAsked
from serving.kafka import refusal
from serving.loop import RUNTIME, Loop
from serving.room import REMEDY
from serving.sinks import Sink
from serving.sources import naming_unreadable_files
from serving.tally import Tally, measures

UNITS_MS = {"ms": 1, "millisecond": 1, "s": 1000, "second": 1000, "min": 60_000, "minute": 60_000, "hour": 3_600_000}
KEPT_DURATIONS = 100_000
SHORTEST_EPOCH_MS = 5000  # spark.sql.streaming.realTimeMode.minBatchDuration
EPOCH_END_MS = 5_000  # what planning and committing an epoch may take
MOST_OF_A_STACK = 8_000  # characters
PLAN_BEGINS = "=== Streaming Query ==="  # and ends the text of Spark's error
# They log, with a stack, what `wait` raises or what a stop interrupts.
TALKATIVE = (
    f"{RUNTIME}.MicroBatchExecution",
    "org.apache.spark.sql.execution.datasources.v2.WriteToDataSourceV2Exec",
    "org.apache.spark.sql.execution.datasources.v2.DataWritingSparkTask",
    "org.apache.spark.util.Utils",
)


class BadTrigger(ServingError):
    """A trigger, or another length of time, is none."""


class Mode(StrEnum):
    """How a query runs: batch by batch into any sink, or event by event from Kafka to Kafka."""

    MICRO_BATCH = "micro-batch"
    REAL_TIME = "real-time"


@dataclass(frozen=True)
class Batch:
    """One micro-batch: its number, its scored rows, and the seconds from its call to its last sink."""

    number: int
    rows: int
    seconds: float


@dataclass
class BatchWriter:
    """Hands every micro-batch to the sinks, and its refused rows to `dead_letters`; the function of foreachBatch.

    The first sink that observes comes first: the batch is scored and counted in the job that writes there, and the
    others read what is kept of it. Where there is none, a job scores and counts it before them.

    `guard` is called before anything is written and raises where nothing may be. Once `halt` is set the next batch is
    refused, by an exception: to return without writing would let Spark commit a batch that no sink has seen. Spark
    repeats a refused batch at the next start. `tallies` grows by one a batch; whoever reads them takes them out.
    """

    sinks: Sequence[Sink]
    report: Callable[[Batch], None]
    halt: threading.Event = field(default_factory=threading.Event)
    guard: Callable[[], None] = lambda: None
    dead_letters: DeadLetterSink | None = None
    tallies: dict[int, Tally] = field(default_factory=dict)
    refused: bool = False
    failure: BaseException | None = None
    port: int | None = None
    _may_repeat: bool = True

    def __call__(self, batch: DataFrame, number: int) -> None:
        """Write one micro-batch to every sink; what that fails with is kept as `failure`."""
        self.port = self.port or callback_sockets.port_of_this_call()
        if self.halt.is_set():
            self.refused = True
            raise InterruptedError("stop requested")
        try:
            self.guard()
            self._write(batch, number)
        except Exception as error:
            self.failure = error
            # Spark looks through the text of a failure by a regular expression that overflows its stack on a long one.
            raise RuntimeError(f"batch {number}: {type(error).__name__}") from None

    def _write(self, batch: DataFrame, number: int) -> None:
        start = time.monotonic()
        first = next((sink for sink in self.sinks if sink.observes), None)
        cached = len(self.sinks) > 1 or self.sinks[0].cached
        kept = batch.persist() if cached else batch  # score it once for all that read it
        try:
            tally = self._count(kept) if first is None else self._write_observed(first, kept, number)
            # Before sinks that keep what they were given: it raises where a file must be read again.
            unread = self.dead_letters.unread(kept, number, tally) if self.dead_letters is not None else {}
            for sink in self.sinks:
                if sink is not first:
                    sink.write(kept, number)
            if self.dead_letters is not None:
                # Only the first batch of a query can be a repeat, which may have left letters that are none any more.
                self.dead_letters.keep(kept, number, tally, unread, may_repeat=self._may_repeat)
        finally:
            if cached:
                kept.unpersist()
        self._may_repeat = False
        self.tallies[number] = tally
        self.report(Batch(number, tally.scored, time.monotonic() - start))

    def _write_observed(self, sink: Sink, batch: DataFrame, number: int) -> Tally:
        seen = Observation()
        sink.write(batch.observe(seen, *self._measures), number)
        return Tally.of(seen.get)

    def _count(self, batch: DataFrame) -> Tally:
        """Score and count all partitions at once; sinks that go through the driver take one after the other."""
        counted: list[Row] = batch.agg(*self._measures).collect()
        return Tally.of(counted[0].asDict())

    @cached_property
    def _measures(self) -> list[Column]:
        # Made once: every Column is a dozen calls to Java.
        return measures(of_files=self.dead_letters is not None and self.dead_letters.files is not None)


@dataclass
class Running:
    """A query that was started, with what it writes by (None in real-time mode, where the plan itself writes)."""

    query: StreamingQuery
    writer: BatchWriter | None
    asked: bool = False
    marked: bool = False
    cut_off: bool = False
    loop: Loop | None = field(init=False)

    def __post_init__(self) -> None:
        self.loop = Loop.of(self.query)

    def works(self) -> bool:
        """Whether the query still runs a batch or an epoch, or may begin one."""
        return self.loop.works() if self.loop else bool(self.query.isActive)

    def ended(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end; whether it has come.

        What a batch fails with that was cut off by `end_now`, or by a stop while a server was away, is no failure of
        the query. Else BadSource where a file of the source could not be read, NoRoom where the checkpoint has none,
        what a sink failed with as it raised it; other failures as Spark words them, with Java's stack.
        """
        try:
            with naming_unreadable_files():
                over = bool(self.query.awaitTermination(seconds))  # type: ignore[arg-type]  # takes fractions too
        except StreamingQueryException as error:
            if self.cut_off:
                return True
            failure = self.writer.failure if self.writer is not None else None
            if isinstance(failure, StopAsked):
                return True
            if (refused := refusal(str(failure or error))) is not None:
                raise refused from None
            if failure is not None:
                raise failure from None
            if fault := no_room(error):
                raise NoRoom(
                    f"Spark could not write what it keeps of the stream (checkpoint): {fault}. {REMEDY}"
                ) from None
            if self.writer is None or not self.writer.refused:
                raise _without_plan(error) from None
            return True
        if over and self.asked and self.works():
            time.sleep(seconds)  # a query that is marked as ended counts as such while its last batch runs
            return False
        return over

    def ask_to_end(self) -> None:
        """Let the query commit the batch or epoch in hand and begin no other; called again, it only looks after it.

        Spark's `stop` marks a query as ended, which its loop looks at between two batches, and then interrupts the
        batch. This does the first half, and the second only where a query of micro-batches waits for its trigger; one
        in real-time mode waits for none, and tasks of an epoch that is interrupted go on sending beside those of its
        repetition: it is marked while its tasks run. A batch that is marked while it is planned is refused by
        BatchWriter and repeated. Where a Spark version has no such mark, BatchWriter refuses the next batch; a
        real-time query then ends within its epoch.
        """
        if not self.asked:
            self.asked = True
            if self.writer is not None:
                self.writer.halt.set()
                if self.loop is not None:
                    self.loop.mark_as_ended()
            elif self.loop is None:
                self.query.stop()
        elif self.writer is not None and not self.query.status["isTriggerActive"]:
            self.query.stop()
        if self.writer is None and self.loop is not None and not self.marked:
            self.marked = self.loop.mark_once_it_runs()

    def end_now(self) -> None:
        """End the query within its batch or epoch, which is repeated at the next start; nothing where it has ended."""
        if self.query.isActive or self.asked:
            self.cut_off = self.asked
            self.query.stop()
        if self.writer is not None and self.writer.port is not None and not self.works():
            callback_sockets.close(self.writer.port)
            self.writer.port = None


@dataclass
class Durations:
    """How long whole micro-batches or epochs took, in ms, planning and checkpoint included; the last 100,000."""

    milliseconds: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT_DURATIONS))

    def quantile(self, share: float) -> float:
        """The smallest duration that at least `share` of the batches did not exceed; 0 where there were none."""
        ordered = sorted(self.milliseconds)
        return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)]) if ordered else 0.0


def parse_trigger(text: str, what: str = "trigger") -> int:
    """Milliseconds of a length of time such as "30 seconds", "500 ms" or "1 minute"; 0 starts batches back to back."""
    match = re.fullmatch(rf"\s*(\d{{1,9}})\s*({'|'.join(UNITS_MS)})s?\s*", text.lower())
    if not match:
        raise BadTrigger(
            f"{what} {text!r} is no length of time; give a whole number and a unit, such as '30 seconds', "
            "'500 milliseconds' or '1 minute'."
        )
    return int(match[1]) * UNITS_MS[match[2]]


def start_micro_batches(plan: DataFrame, writer: BatchWriter, checkpoint: str, trigger_ms: int | None) -> Running:
    """Start a query that writes every micro-batch; `trigger_ms` None: all that is there now, then end."""
    _leave_failures_to_the_caller(plan.sparkSession)
    stream = plan.writeStream.foreachBatch(writer).option("checkpointLocation", checkpoint)
    if trigger_ms is None:
        return Running(stream.trigger(availableNow=True).start(), writer)
    return Running(stream.trigger(processingTime=f"{trigger_ms} milliseconds").start(), writer)


def start_real_time(plan: DataFrame, client: dict[str, str], checkpoint: str, epoch_ms: int) -> Running:
    """Start a query in real-time mode; `plan` has Kafka's columns, `client` its options."""
    _leave_failures_to_the_caller(plan.sparkSession)
    # Spark's list of operators for this mode goes by the names of classes, and one is of serving.settled_plan.
    plan.sparkSession.conf.set("spark.sql.streaming.realTimeMode.allowlistCheck", "false")
    epoch: dict[str, Any] = {"realTime": f"{epoch_ms} milliseconds"}  # PySpark's type hints lack it
    stream = plan.writeStream.format("kafka").options(**client).option("checkpointLocation", checkpoint)
    return Running(stream.outputMode("update").trigger(**epoch).start(), None)


def _without_plan(error: StreamingQueryException) -> StreamingQueryException:
    """The error with Java's stack of its cause in place of the plan, behind which nobody finds what was at fault."""
    captured: Any = error  # PySpark's types lack what it holds
    cause, said = getattr(captured, "_cause", None), str(error).split(PLAN_BEGINS)[0].strip()
    captured._desc = f"{said}\n{getattr(cause, '_stackTrace', '')[:MOST_OF_A_STACK]}"
    return error


def _leave_failures_to_the_caller(spark: SparkSession) -> None:
    """Keep Spark from logging, with its stack, what ends a query: `ended` raises it, or it was a stop."""
    log4j: Any = spark._jvm.org.apache.logging.log4j  # type: ignore[union-attr]
    for name in TALKATIVE:
        log4j.core.config.Configurator.setLevel(name, log4j.Level.OFF)
