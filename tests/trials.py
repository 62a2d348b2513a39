"""Trials of the stream under faults: a topic of leads in Kafka, the stream on it, and what it stored of them."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pyarrow.dataset as ds
from confluent_kafka import Consumer, Producer, TopicPartition
from pyspark.sql import SparkSession

from pipelines.settings import Settings
from pipelines.stream import StreamSummary, run_stream
from pipelines.stream_options import Connections, StreamOptions
from serving.webhook import TOKEN_VARIABLE
from tests.commands import Workplace
from tests.leads import small_rows
from tests.services import KafkaBroker, PostgresServer

WAIT_SECONDS = 120
BROKEN = 10  # every tenth event is no JSON


@dataclass
class Stream:
    """The stream as a process of its own; what it says lies in a file."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """All that it has said so far, on stdout and stderr."""
        return self.log.read_text(encoding="utf-8")

    def last_words(self) -> str:
        """The end of what it said, each line cut: Spark adds plans of many thousand characters to its errors."""
        return "\n".join(line[:300] for line in self.said().splitlines()[-80:])

    def batches(self) -> int:
        """How many batches it has logged."""
        return self.said().count('"event": "batch"')

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something, while the process lives."""
        end = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert self.process.poll() is None, f"the stream ended before its time: {self.last_words()}"
            assert time.monotonic() < end, f"waited too long: {self.last_words()}"
            time.sleep(0.02)

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(WAIT_SECONDS)


@dataclass
class Trial:
    """One stream under test, with a topic, a data folder and event ids of its own; every event goes to every sink."""

    spark: SparkSession
    settings: Settings
    place: Workplace
    kafka: KafkaBroker
    postgres: PostgresServer
    topic: str
    per_batch: int = 40
    output: str = ""
    webhook: str = ""
    token: str = ""
    good: set[str] = field(default_factory=set)
    sent: int = 0

    @property
    def folder(self) -> Path:
        """Its data folder."""
        return Path(self.settings.data)

    @property
    def lake(self) -> Path:
        """Where its scores lie."""
        return Path(self.output or self.folder / "scores" / "stream")

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint folder."""
        return self.folder / "checkpoints" / "stream"

    @property
    def environment(self) -> dict[str, str]:
        """What a process of it needs."""
        services = self.kafka.environment | {"LEADS_POSTGRES_DSN": self.postgres.dsn}
        services |= {"LEADS_WEBHOOK_URL": self.webhook} if self.webhook else {}
        services |= {TOKEN_VARIABLE: self.token} if self.token else {}
        return self.place.environment | services | {"LEADS_DATA": str(self.folder)}

    def send(self, count: int) -> None:
        """Send leads of ids and event ids of their own; every tenth is broken."""
        producer, rows = Producer(self.kafka.client), small_rows(500)
        for number in range(self.sent, self.sent + count):
            _, _, _, visits, seconds, city, _ = rows[number % len(rows)]
            event = f"{self.topic}-{number}"
            lead = {"LeadId": event, "Visits": visits, "Seconds": seconds, "City": city, "event_id": event}
            is_broken = number % BROKEN == BROKEN - 1
            producer.produce(self.topic, b"{not json" if is_broken else json.dumps(lead).encode())
            producer.poll(0)
            self.good |= set() if is_broken else {event}
        assert producer.flush(60) == 0
        self.sent += count

    def options(self, **changed: Any) -> dict[str, Any]:
        """The stream's parameters."""
        asked = {"source": f"kafka:{self.topic}", "sink": "parquet,postgres", "trigger": "0 seconds", **changed}
        of_postgres = {"hot": 0} if "postgres" in asked["sink"] else {}
        return {"output": self.output, "max_offsets_per_trigger": self.per_batch, **of_postgres, **asked}

    def words(self, **changed: Any) -> list[str]:
        """The stream's parameters as words of a command."""
        given = {f"--{name.replace('_', '-')}": str(value) for name, value in self.options(**changed).items()}
        return [word for pair in given.items() for word in pair]

    def good_of(self, batch: int, size: int) -> set[str]:
        """The good events of batch `batch`, where every batch has `size` events."""
        return self.good & {f"{self.topic}-{number}" for number in range(batch * size, (batch + 1) * size)}

    def run(self, stop: Event | None = None, quiet: bool = True, **changed: Any) -> StreamSummary:
        """Run the stream in this process until it ends; by itself without a `stop`. It logs unless `quiet`."""
        asked = {"available_now": stop is None, **changed}
        services = Connections(kafka=self.kafka.bootstrap, postgres_dsn=self.postgres.dsn, webhook_url=self.webhook)
        options = StreamOptions(**self.options(**asked))
        report = (lambda batch: None) if quiet else None
        return run_stream(self.spark, self.settings, options, stop, report, connections=services)

    @contextmanager
    def streaming(self, *before: str, module: str = "pipelines.stream", **changed: Any) -> Iterator[Stream]:
        """The stream as a process that is surely gone at the end of the block."""
        command = [sys.executable, "-m", module, *before, *self.words(**changed)]
        log = self.folder / f"stream-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=self.place.folder, env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                yield Stream(process, log)
            finally:
                process.kill()
                process.wait()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers."""
        with psycopg.connect(self.postgres.dsn) as connection:
            return connection.execute(statement).fetchall()

    def events(self, columns: str = "event_id") -> list[tuple[Any, ...]]:
        """Its events in PostgreSQL."""
        return self.ask(f"select {columns} from scored_events where event_id like '{self.topic}-%'")

    def events_in(self, topic: str) -> Counter[str]:
        """How often each event id stands in the headers of a topic of one partition."""
        consumer, partition = Consumer({**self.kafka.client, "group.id": topic}), TopicPartition(topic, 0, 0)
        _, count = consumer.get_watermark_offsets(partition)
        consumer.assign([partition])
        try:
            return Counter(dict(record.headers())["event_id"].decode() for record in consumer.consume(count, 60))
        finally:
            consumer.close()

    def holding(self, secret: str) -> list[str]:
        """The files of the store (runs and registry) and of the trial (log, checkpoint, scores) that hold a secret."""
        files = [path for folder in (self.place.folder, self.folder) for path in folder.rglob("*") if path.is_file()]
        assert any(path.name == "mlflow.db" for path in files)
        assert any(path.suffix == ".log" for path in files)
        return [str(path) for path in files if secret.encode() in path.read_bytes()]

    def scores(self) -> list[dict[str, Any]]:
        """Its events in the lake, as any reader sees them, with the columns `query` and `batch`."""
        return rows_under(self.lake)

    def ledger(self) -> dict[int, int]:
        """New events by number of the batch, as PostgreSQL's ledger has them."""
        queries = {row["query"] for row in self.scores()}
        assert len(queries) == 1
        return dict(self.ask(f"select batch_id, events from scored_batches where query_id = '{queries.pop()}'"))

    def committed(self) -> set[int]:
        """The batches that Spark has committed."""
        return {int(path.name) for path in self.checkpoint.glob("commits/[0-9]*")}

    def assert_every_event_once(self) -> None:
        """Nothing lost, nothing doubled: in PostgreSQL, in its ledger, in the lake, and among the dead letters."""
        once = Counter(self.good)
        assert Counter(event for (event,) in self.events()) == once
        rows = self.scores()
        assert Counter(row["event_id"] for row in rows) == once
        held = {batch: events for batch, events in self.ledger().items() if events}
        assert held == Counter(row["batch"] for row in rows)
        letters = Counter(row["origin"] for row in rows_under(self.folder / "dead-letters"))
        assert letters == Counter(f"{self.topic}/0/{n}" for n in range(BROKEN - 1, self.sent, BROKEN))


def rows_under(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of batches; none where it is not there."""
    if not folder.exists():
        return []
    rows: list[dict[str, Any]] = ds.dataset(folder, format="parquet", partitioning="hive").to_table().to_pylist()
    return rows
