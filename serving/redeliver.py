"""Hot leads that the webhook did not take, posted again: under the same keys, and those that were taken never again."""

import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.driver_rows import driver_rows
from features.storage import Storage, join
from serving.redrive import Replay
from serving.webhook import Courier, WebhookOptions

# Letters between two notes of what was taken, each of which has the time of a micro-batch.
CHUNK = 1000


def redeliver(
    letters: DataFrame, options: WebhookOptions, storage: Storage, ledger: str, dry_run: bool = False
) -> Replay:
    """Post the undelivered letters (serving.dead_letters.DEAD_LETTER_COLUMNS) whose event no earlier run delivered.

    Of an event with several letters the newest is posted, and counts for the queries of all: another query may have
    another receiver. What was taken is noted in the folder `ledger` after every 1,000 letters; a run that is killed
    posts at most those again, under the same Idempotency-Key. Where none of such a thousand is taken the rest is left
    alone: the receiver is down. A dry run posts nothing.
    """
    spark = letters.sparkSession
    time = F.date_format("event_time", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX").alias("event_time")
    newest = F.max_by(F.struct(time, "origin", F.col("raw").alias("body")), "failed_at").alias("newest")
    named = letters.where("raw is not null").withColumn("query", F.coalesce("query", F.lit("")))
    old = _delivered(spark, storage, ledger)
    left = named if old is None else _but(named, old)
    queries = F.collect_set("query").alias("queries")
    new = left.groupBy("event_id").agg(newest, queries).select("event_id", "queries", "newest.*").cache()
    try:
        found, fresh = named.select("event_id").distinct().count(), new.count()
        if dry_run:
            return Replay(found, fresh, found - fresh, {})
        taken, refused = 0, Counter[str]()
        rows, courier = new.toLocalIterator(), Courier(options, threading.Event())
        while chunk := list(itertools.islice(rows, CHUNK)):
            answers = list(zip(chunk, courier.deliver(chunk), strict=True))
            done = [row for row, letter in answers if letter is None]
            refused.update(letter.reason for _, letter in answers if letter is not None)
            taken += len(done)
            if not done:
                refused["not tried, as the receiver took none before"] += fresh - taken - refused.total()
                break
            _note(spark, done, ledger)
        return Replay(found, taken, found - fresh, dict(refused.most_common()))
    finally:
        new.unpersist()


def _note(spark: SparkSession, rows: Sequence[Any], ledger: str) -> None:
    taken = pa.schema([("event_id", pa.string()), ("query", pa.string())])
    delivered = driver_rows(spark, [(row.event_id, query) for row in rows for query in row.queries], taken)
    delivered.coalesce(1).write.parquet(join(ledger, f"delivered-{uuid.uuid4().hex}"))


def _delivered(spark: SparkSession, storage: Storage, ledger: str) -> DataFrame | None:
    notes = [e.uri for e in storage.list(ledger) if e.name.startswith("delivered-")]
    # A note that was cut off has no _SUCCESS, and says nothing.
    whole = [uri for uri in notes if storage.exists(join(uri, "_SUCCESS"))]
    return spark.read.schema("event_id string, query string").parquet(*whole).distinct() if whole else None


def _but(letters: DataFrame, delivered: DataFrame) -> DataFrame:
    """The letters that were not delivered yet; a note of an earlier release names no query, and holds for all."""
    same = (letters["event_id"] == delivered["event_id"]) & (
        delivered["query"].isNull() | (letters["query"] == delivered["query"])
    )
    return letters.join(delivered, same, "left_anti")
