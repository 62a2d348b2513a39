"""Dead letters: what could not be scored or handed on, with its text, where it was read and the reason."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from features.storage import Storage, join
from serving.kafka import KafkaOptions
from serving.lake import STAGING

DEAD_LETTER_COLUMNS = ("event_id", "event_time", "origin", "position", "raw", "reason", "failed_at", "query")
DEAD_LETTER_SCHEMA = (
    "event_id string, event_time timestamp, origin string, position long, raw string, reason string, "
    "failed_at timestamp, query string"
)
REFUSED, FILES, UNDELIVERED = "refused", "files", "undelivered"


class DeadLetters(Protocol):
    """Keeps dead letters of a micro-batch, and must hold the same when it is given the batch again."""

    def put(self, letters: DataFrame, number: int, kind: str) -> int:
        """Keep the letters of a kind (REFUSED, FILES, UNDELIVERED) of batch `number`; how many there were."""


@dataclass(frozen=True)
class DeadLetterFolder:
    """Parquet, FOLDER/kind=refused/query=ID/batch=000012/; a repeated batch replaces it, and one of none removes it."""

    storage: Storage
    folder: str
    query: str

    def put(self, letters: DataFrame, number: int, kind: str) -> int:
        """Keep the letters of batch `number`; how many there were."""
        seen, target = Observation(), self.place(kind, number)
        staged = join(self.folder, STAGING, f"{kind}-{number:06d}-{uuid.uuid4().hex}")
        letters.observe(seen, F.count(F.lit(1)).alias("rows")).write.parquet(staged)
        rows = int(seen.get["rows"])
        self.storage.delete(target)
        if rows:
            self.storage.move(staged, target)
        self.storage.delete(staged)
        return rows

    def place(self, kind: str, number: int) -> str:
        """Where the letters of a batch lie."""
        return join(self.folder, f"kind={kind}", f"query={self.query}", f"batch={number:06d}")


@dataclass(frozen=True)
class DeadLetterTopic:
    """A Kafka topic: the letter as JSON, keyed by event id; a repeated batch is sent again."""

    kafka: KafkaOptions
    topic: str

    def put(self, letters: DataFrame, number: int, kind: str) -> int:
        """Send the letters of batch `number`; how many there were."""
        seen = Observation()
        rows = letters.observe(seen, F.count(F.lit(1)).alias("rows")).select(
            F.col("event_id").cast("binary").alias("key"),
            F.to_json(F.struct(*DEAD_LETTER_COLUMNS, F.lit(kind).alias("kind"))).cast("binary").alias("value"),
        )
        rows.write.format("kafka").options(**self.kafka.client(), topic=self.topic).save()
        return int(seen.get["rows"])


@dataclass(frozen=True)
class DeadLetterSink:
    """The sink of a query's refused events; `write` returns how many there were."""

    letters: DeadLetters
    query: str

    def write(self, batch: DataFrame, number: int) -> int:
        """Keep the refused rows of batch `number`; how many there were."""
        raise NotImplementedError


def letter_rows(batch: DataFrame, rows: Sequence[dict[str, object]]) -> DataFrame:
    """Dead letters from rows of the driver."""
    return batch.sparkSession.createDataFrame(
        [tuple(r.get(c) for c in DEAD_LETTER_COLUMNS) for r in rows], DEAD_LETTER_SCHEMA
    )
