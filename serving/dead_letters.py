"""Dead letters: what could not be scored or handed on, with its text, where it was read and the reason."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from features.driver_rows import driver_rows
from features.storage import Storage, join
from serving.events import MOST_ID
from serving.file_account import FileAccount
from serving.kafka import KafkaOptions, send
from serving.lake import STAGING
from serving.room import naming_a_full_disk
from serving.tally import Tally, measures

DEAD_LETTER_COLUMNS = ("event_id", "lead", "event_time", "origin", "position", "raw", "reason", "failed_at", "query")
REFUSED, FILES, UNDELIVERED = "refused", "files", "undelivered"
MOST_BYTES = 900_000  # of a letter's text as JSON, in Kafka, whose clients and brokers take 1 MiB a record by default
_TOO_LONG = "; the text is too long for a letter and stands at its origin alone"


class DeadLetters(Protocol):
    """Keeps dead letters of a micro-batch, and must hold the same when it is given the batch again."""

    def put(self, letters: DataFrame, number: int, kind: str) -> int:
        """Keep the letters of a kind (REFUSED, FILES, UNDELIVERED) of batch `number`; how many there were."""

    def clear(self, number: int, kind: str) -> None:
        """Say that batch `number` has none of a kind: what an earlier try may have kept is taken back if it can be."""


@dataclass(frozen=True)
class DeadLetterFolder:
    """Parquet, FOLDER/kind=refused/query=ID/batch=000012/; a repeated batch replaces it, and one of none removes it."""

    storage: Storage
    folder: str
    query: str

    def put(self, letters: DataFrame, number: int, kind: str) -> int:
        """Keep the letters of batch `number`; how many there were. NoRoom where the disk takes no more."""
        seen, target = Observation(), self.place(kind, number)
        staged = join(self._staging, f"{kind}-{number:06d}-{uuid.uuid4().hex}")
        with naming_a_full_disk(self.storage, f"the {kind} letters of batch {number}", self.folder, staged):
            letters.observe(seen, F.count(F.lit(1)).alias("rows")).write.parquet(staged)
        rows = int(seen.get["rows"])
        self.storage.delete(target)
        if rows:
            self.storage.move(staged, target)
        self.storage.delete(staged)
        return rows

    def clear(self, number: int, kind: str) -> None:
        """Remove the letters that an earlier try of batch `number` had left."""
        self.storage.delete(self.place(kind, number))

    def clear_staging(self) -> None:
        """Remove what writes that were killed left behind; call it before the first batch."""
        self.storage.delete(self._staging)

    @property
    def _staging(self) -> str:
        return join(self.folder, STAGING, self.query)

    def place(self, kind: str, number: int) -> str:
        """Where the letters of a batch lie."""
        return join(self.folder, f"kind={kind}", f"query={self.query}", f"batch={number:06d}")


@dataclass(frozen=True)
class DeadLetterTopic:
    """A Kafka topic: the letter as JSON, keyed by event id; a repeated batch is sent again.

    A text that would make a letter too long for Kafka is left out of it, and its reason says so.
    """

    kafka: KafkaOptions
    topic: str

    def put(self, letters: DataFrame, number: int, kind: str) -> int:
        """Send the letters of batch `number`; how many there were."""
        seen, named = Observation(), {name: F.col(name) for name in DEAD_LETTER_COLUMNS}
        rows = letters.observe(seen, F.count(F.lit(1)).alias("rows")).select(
            F.col("event_id").cast("binary").alias("key"),
            letter_json({**named, "kind": F.lit(kind)}).cast("binary").alias("value"),
        )
        send(rows, self.kafka, self.topic)
        return int(seen.get["rows"])

    def clear(self, number: int, kind: str) -> None:
        """Nothing: what was sent stays sent."""


@dataclass(frozen=True)
class DeadLetterSink:
    """The sink of a query's refused events, and of files that gave none or not all; `write` returns how many."""

    letters: DeadLetters
    query: str
    files: FileAccount | None = None

    def write(self, batch: DataFrame, number: int) -> int:
        """Count batch `number` and keep what `keep` does."""
        counted = batch.agg(*measures(of_files=self.files is not None)).collect()
        tally = Tally.of(counted[0].asDict())
        return self.keep(batch, number, tally, self.unread(batch, number, tally))

    def unread(self, batch: DataFrame, number: int, tally: Tally) -> dict[str, str]:
        """The files of batch `number` that could not be read, or only in part: URI and reason; SourceUnsteady as there.

        `tally` is that of the batch.
        """
        return self.files.unread(number, tally, lambda: _rows_by_file(batch)) if self.files else {}

    def keep(
        self, batch: DataFrame, number: int, tally: Tally, unread: Mapping[str, str], *, may_repeat: bool = True
    ) -> int:
        """Keep the refused rows of batch `number`, and its unread files (raw null, the reason says why).

        Where there are none, what an earlier try left goes if the batch may be a repeat.
        """
        kept = 0
        if tally.refused:
            refused = batch.where("reason is not null")
            kept += self.letters.put(refused.select(*dead_letter(refused, self.query)), number, REFUSED)
        elif may_repeat:
            self.letters.clear(number, REFUSED)
        if unread:
            letters = [Letter(f"{uri.rsplit('/', 1)[-1]}/file", uri, reason) for uri, reason in unread.items()]
            kept += self.letters.put(letter_rows(batch.sparkSession, letters, self.query), number, FILES)
        elif may_repeat and self.files:
            self.letters.clear(number, FILES)
        return kept


def _rows_by_file(batch: DataFrame) -> dict[str, int]:
    counts = batch.groupBy("origin").agg(F.count(F.lit(1)).alias("rows")).collect()
    return {row.origin: row.rows for row in counts}


@dataclass(frozen=True)
class Letter:
    """A dead letter that is written by the driver."""

    event_id: str
    origin: str
    reason: str
    raw: str | None = None
    event_time: str | None = None  # ISO text


def letter_rows(spark: SparkSession, letters: Sequence[Letter], query: str) -> DataFrame:
    """Dead letters of the driver as rows of DEAD_LETTER_COLUMNS."""
    now = F.current_timestamp()
    rows = [(x.event_id, x.event_time, x.origin, x.raw, x.reason) for x in letters]
    names = ("event_id", "said", "origin", "raw", "reason")
    frame = driver_rows(spark, rows, pa.schema([(name, pa.string()) for name in names]))
    return frame.select(
        "event_id",
        F.lit(None).cast("string").alias("lead"),
        F.coalesce(F.col("said").try_cast("timestamp"), now).alias("event_time"),
        *("origin", F.lit(0).cast("long").alias("position"), "raw", "reason"),
        now.alias("failed_at"),
        F.lit(query).alias("query"),
    )


def dead_letter(scored: DataFrame, query: str = "") -> list[Column]:
    """The columns of a dead letter of a refused event of `scored_events`; `lead` is its id, where it had one."""
    return [column.alias(name) for name, column in letter_of(scored, query).items()]


def letter_of(scored: DataFrame, query: str = "") -> dict[str, Column]:
    """The same by name, DEAD_LETTER_COLUMNS in their order."""
    lead = scored.columns[scored.columns.index("position") + 1]
    given = {"lead": F.col(lead), "failed_at": F.col("scored_at"), "query": F.lit(query)}
    return {name: given.get(name, F.col(name)) for name in DEAD_LETTER_COLUMNS}


def letter_json(letter: Mapping[str, Column]) -> Column:
    """A letter of columns by name as JSON that Kafka takes.

    Without `raw` where that, escaped, has more than MOST_BYTES: the reason then tells where it stands. What an event
    gives as its lead's id may be as long: 256 characters of it are kept.
    """
    raw, reason = letter["raw"], letter["reason"]
    too_long = F.octet_length(F.to_json(F.struct(raw.alias("raw")))) > MOST_BYTES
    bounded = {
        "raw": F.when(~too_long, raw),
        "reason": F.when(too_long, F.concat(reason, F.lit(_TOO_LONG))).otherwise(reason),
        "lead": F.substring(letter["lead"], 1, MOST_ID),
    }
    return F.to_json(F.struct(*(column.alias(name) for name, column in {**letter, **bounded}.items())))
