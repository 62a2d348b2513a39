"""Dead letters replayed after a fix: judged again, and those that are good now put where a stream reads, once."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.contract import Contract
from features.csv_values import fault
from features.storage import Storage, join
from serving.dead_letters import DEAD_LETTER_COLUMNS, REFUSED
from serving.errors import ServingError
from serving.events import EVENT_ID, EVENT_TIME, batch_date, event_fields, events
from serving.kafka import KafkaOptions, header, send
from serving.sources import FileFormat

_BEGUN, _DONE = "_begun.json", "_done.json"
_REDRIVE = "redrive"
_DAY_MS = 86_400_000
_REASONS = 20


_LETTER = ("origin", "position")  # of a letter among those of its event


class NoDeadLetters(ServingError):
    """There are no dead letters at a place, or they cannot be read."""


class OtherTarget(ServingError):
    """An interrupted redrive must be finished first, into the target that it had."""


@dataclass(frozen=True)
class Replay:
    """What a redrive found: letters, those replayed now and before, and why the others are still refused."""

    found: int
    replayed: int
    before: int
    refused: dict[str, int]

    def __str__(self) -> str:
        still = "".join(f"\n  {count:,} still refused: {reason}" for reason, count in self.refused.items())
        return f"{self.found:,} dead letters: {self.replayed:,} replayed, {self.before:,} replayed earlier{still}"


@dataclass(frozen=True)
class FolderTarget:
    """A folder that a stream reads: every replay is one new file, whole."""

    storage: Storage
    folder: str
    format: FileFormat

    @property
    def place(self) -> str:
        """The target as an error names it."""
        return f"target={self.folder} format={self.format}"

    def put(self, leads: DataFrame, name: str, begun: int | None) -> None:
        """Put the leads there; nothing where an earlier try has done it."""
        goal = join(self.folder, f"{name}.{self.format}")
        if self.storage.exists(goal):
            return
        aside = join(self.folder, f"_{name}-{uuid.uuid4().hex}")
        writer = leads.coalesce(1).write
        writer.json(aside) if self.format is FileFormat.JSON else writer.parquet(aside)
        self.storage.move(self.storage.list(aside)[0].uri, goal)
        self.storage.delete(aside)


@dataclass(frozen=True)
class TopicTarget:
    """A Kafka topic that a stream reads: an earlier try's leads are looked up there, and those that it lacks are sent.

    Every record names its redrive, as the topic may hold the refused events themselves, under the same ids.
    """

    kafka: KafkaOptions
    topic: str
    contract: Contract

    @property
    def place(self) -> str:
        """The target as an error names it."""
        return f"target=kafka:{self.topic}"

    def put(self, leads: DataFrame, name: str, begun: int | None) -> None:
        """Send the leads, each with its event id, its time and the name of the redrive as headers."""
        if begun is not None:
            leads = leads.join(self._there(leads.sparkSession, name, begun), EVENT_ID, "left_anti")
        told = F.date_format(EVENT_TIME, "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX")
        headers = [
            F.struct(F.lit(key).alias("key"), value.cast("binary").alias("value"))
            for key, value in ((EVENT_ID, F.col(EVENT_ID)), (EVENT_TIME, told), (_REDRIVE, F.lit(name)))
        ]
        rows = leads.select(
            F.col(self.contract.id.name).cast("binary").alias("key"),
            F.to_json(F.struct(*(f.name for f in event_fields(self.contract)))).cast("binary").alias("value"),
            F.array(*headers).alias("headers"),
        )
        send(rows, self.kafka, self.topic)

    def _there(self, spark: SparkSession, name: str, begun: int) -> DataFrame:
        """Event ids that the topic has of a redrive that began at `begun`, by clocks that may be a day off."""
        asked = {
            "subscribe": self.topic,
            "startingTimestamp": str(max(0, begun - _DAY_MS)),
            "startingOffsetsByTimestampStrategy": "latest",
            "includeHeaders": "true",
        }
        records = spark.read.format("kafka").options(**self.kafka.reader(), **asked).load()
        return records.where(header(_REDRIVE) == name).select(header(EVENT_ID).alias(EVENT_ID)).distinct()


def judged_again(letters: DataFrame, contract: Contract) -> DataFrame:
    """Refused events (DEAD_LETTER_COLUMNS) by the contract as it is now: one row per event id, as `events` gives it.

    Of several letters of an event the newest counts: that of a replay that was refused again.
    """
    whole = F.struct(*letters.columns)
    newest = letters.where("raw is not null").groupBy(EVENT_ID).agg(F.max_by(whole, "failed_at").alias("letter"))
    arrivals = newest.select("letter.*").select(
        F.col("raw").alias("value"),
        F.col("lead").alias("key"),
        F.col(EVENT_ID).alias("given_id"),
        F.date_format(EVENT_TIME, "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX").alias("given_time"),
        F.col(EVENT_TIME).alias("arrived_at"),
        *("origin", "position"),
        *(F.lit(None).cast("string").alias(name) for name in ("file", "fault")),
        batch_date(),
    )
    return events(arrivals, contract)


def redrive(
    letters: DataFrame,
    contract: Contract,
    target: FolderTarget | TopicTarget,
    storage: Storage,
    ledger: str,
    dry_run: bool = False,
    report: Callable[[str], None] = print,
) -> Replay:
    """Replay the letters that the contract accepts now and that no earlier run has replayed.

    What is to be replayed is written to the folder `ledger` first, then put to the target, then marked as done: a run
    that was interrupted is finished by the next one, and no letter is replayed by two. An event that was refused again
    has another letter, from where its replay was read. A dry run changes nothing. OtherTarget where an interrupted run
    had another one.
    """
    if not dry_run:
        for run in _unfinished(storage, ledger):
            begun = _begun(storage, ledger, run, target)
            report(f"finishing the interrupted redrive {run}")
            _finish(letters, target, storage, ledger, run, begun)
    judged = judged_again(letters, contract).cache()
    try:
        good = judged.where("reason is null").drop("reason", "raw", "batch_date")
        old = _replayed(letters, storage, ledger)
        new = good if old is None else good.join(old, [EVENT_ID, *_LETTER], "left_anti")
        found, fine, fresh = judged.count(), good.count(), new.count()
        if fresh and not dry_run:
            run = uuid.uuid4().hex
            _record(new, storage, ledger, run, target)
            _finish(letters, target, storage, ledger, run)
        return Replay(found, fresh, fine - fresh, _reasons(judged))
    finally:
        judged.unpersist()


def letters_of(folder: DataFrame, kind: str = REFUSED) -> DataFrame:
    """The letters of a kind among the Parquet dead letters of all kinds."""
    return folder.where(F.col("kind") == kind).select(*DEAD_LETTER_COLUMNS)


def _reasons(judged: DataFrame) -> dict[str, int]:
    counts = judged.where("reason is not null").groupBy(fault(F.col("reason")).alias("fault")).count()
    return {row.fault: row["count"] for row in counts.orderBy(F.desc("count"), "fault").limit(_REASONS).collect()}


def _record(new: DataFrame, storage: Storage, ledger: str, run: str, target: FolderTarget | TopicTarget) -> None:
    aside = join(ledger, f"_part-{run}")
    new.write.parquet(aside)
    storage.write_json(join(aside, _BEGUN), {"time_ms": time.time_ns() // 1_000_000, "target": target.place})
    storage.move(aside, join(ledger, f"run={run}", "events"))


def _begun(storage: Storage, ledger: str, run: str, target: FolderTarget | TopicTarget) -> int:
    """When a run into a target was recorded (ms since 1970); OtherTarget where it had another."""
    noted = storage.read_json(join(ledger, f"run={run}", "events", _BEGUN))
    if noted["target"] != target.place:
        raise OtherTarget(
            f"an interrupted redrive into {noted['target']} is not finished. Run it again with that, or name another "
            "ledger for this one."
        )
    return int(noted["time_ms"])


def _finish(
    letters: DataFrame,
    target: FolderTarget | TopicTarget,
    storage: Storage,
    ledger: str,
    run: str,
    begun: int | None = None,
) -> None:
    """Put what a run has recorded to the target; `begun` tells of a run that was interrupted when it began."""
    recorded = letters.sparkSession.read.parquet(join(ledger, f"run={run}", "events"))
    target.put(recorded.drop(*_LETTER), f"redrive-{run}", begun)
    storage.write_json(join(ledger, f"run={run}", _DONE), {"target": target.place})


def _unfinished(storage: Storage, ledger: str) -> list[str]:
    return [name.removeprefix("run=") for name in _runs(storage, ledger) if not _is_done(storage, ledger, name)]


def _is_done(storage: Storage, ledger: str, name: str) -> bool:
    return storage.exists(join(ledger, name, _DONE))


def _runs(storage: Storage, ledger: str) -> list[str]:
    return [entry.name for entry in storage.list(ledger) if entry.name.startswith("run=")]


def _replayed(letters: DataFrame, storage: Storage, ledger: str) -> DataFrame | None:
    runs = [join(ledger, name, "events") for name in _runs(storage, ledger)]
    return letters.sparkSession.read.parquet(*runs).select(EVENT_ID, *_LETTER) if runs else None
