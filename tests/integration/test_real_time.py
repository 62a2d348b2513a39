"""Real-time mode, Kafka to Kafka: what goes in comes out once scored, through a promotion under load, and a stop."""

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from mlflow import MlflowClient
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from features.stages import GRADE
from pipelines.settings import Settings
from tests.commands import Workplace
from tests.leads import small_leads, small_rows
from tests.served import graded_model, register_small, served, tear

EVENTS_PER_SECOND, WAIT_SECONDS = 100, 240
TORN = 3
FAR_MS, FAR = 2**63 - 1, {20, 29}  # a time that Spark cannot hold, and the events of a feed that have it


@pytest.fixture(scope="module")
def graded(spark: SparkSession) -> PipelineModel:
    """Ten trees on the small leads, calibrated and graded."""
    return graded_model(spark)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, spark: SparkSession, graded: PipelineModel
) -> Iterator[tuple[Workplace, Settings]]:
    """Two versions of that model, the first in Production, and one whose trees cannot be read."""
    folder = tmp_path_factory.mktemp("real-time")
    with served(spark, folder, graded) as settings:
        for _ in (2, TORN):
            register_small(spark, settings, settings.model_name, graded)
        tear(settings, TORN)
        yield Workplace.at(folder), settings


@dataclass(frozen=True)
class Topics:
    """The topics of one test, made new."""

    leads: str
    scores: str
    dead: str

    @classmethod
    def new(cls, kafka, name: str) -> "Topics":
        made = cls(f"{name}-leads", f"{name}-scores", f"{name}-scores-dead-letters")
        kafka.create_topic(made.leads, 2, message__timestamp__after__max__ms=str(FAR_MS))
        for topic in (made.scores, made.dead):
            kafka.create_topic(topic)
        return made


class Feed:
    """Sends leads at an even rate on a thread of its own; every tenth event is broken."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._topic = topics.leads
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self._ending = threading.Event()
        self.good: set[str] = set()
        self.broken = 0
        self._thread = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        rows = small_rows(500)
        number = 0
        while not self._ending.wait(1 / EVENTS_PER_SECOND):
            _, _, _, visits, seconds, city, _ = rows[number % len(rows)]
            lead = {"LeadId": f"lead-{number}", "Visits": visits, "Seconds": seconds, "City": city}
            lead["event_id"] = f"event-{number}"
            value = "{not json" if number % 10 == 9 else json.dumps(lead)
            time_ms = FAR_MS if number in FAR else 0  # 0: now
            self._producer.produce(self._topic, value.encode(), key=f"lead-{number}".encode(), timestamp=time_ms)
            self._producer.poll(0)
            if number % 10 == 9:
                self.broken += 1
            else:
                self.good.add(f"event-{number}")
            number += 1

    def __enter__(self) -> "Feed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        assert self._producer.flush(60) == 0


class Readings:
    """What has come out: per record its topic, value and headers."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._dead = topics.dead
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": topics.scores, "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe([topics.scores, topics.dead])
        self.scores: list[tuple[dict, dict[str, str]]] = []
        self.letters: list[dict] = []
        self.milliseconds: list[int] = []

    def until(self, holds: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert process is None or process.poll() is None, "the stream ended before its time"
            assert time.monotonic() < end, f"waited too long; {len(self.scores)} scores, {len(self.letters)} letters"
            for record in self._consumer.consume(500, timeout=0.2):
                self._take(record)

    def _take(self, record) -> None:
        assert record.error() is None
        value = json.loads(record.value())
        if record.topic() == self._dead:
            self.letters.append(value)
            return
        self.scores.append((value, {k: v.decode() for k, v in record.headers()}))

    def events(self) -> Counter[str]:
        """How often each event has come out scored."""
        return Counter(headers["event_id"] for _, headers in self.scores)

    def repeated(self) -> set[str]:
        """The events that have come out more than once."""
        return {event for event, count in self.events().items() if count > 1}

    def versions(self) -> set[str]:
        return {headers["model_version"] for _, headers in self.scores}


@contextmanager
def streaming(
    store: Workplace, kafka, topics: Topics, folder: Path, epoch: str = "5 seconds"
) -> Iterator[subprocess.Popen[str]]:
    """The stream in real-time mode as a process that is surely gone at the end of the block."""
    words = [sys.executable, "-m", "pipelines.stream", "--mode", "real-time", "--source", f"kafka:{topics.leads}"]
    words += ["--sink", "kafka", "--topic", topics.scores, "--epoch", epoch, "--poll", "200 ms"]
    words += ["--checkpoint", str(folder / "checkpoint")]
    # Each in a file of its own: what Java writes on stderr may fall into the middle of a line of the log.
    with (folder / "out.txt").open("w") as log, (folder / "err.txt").open("w") as errors:
        environment = store.environment | {"LEADS_KAFKA": kafka.bootstrap}
        process = subprocess.Popen(words, env=environment, cwd=store.folder, stdout=log, stderr=errors)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Outcome:
    """What was sent and what came out, the exit code, what the stream logged and what it said beside."""

    feed: Feed
    readings: Readings
    exit_code: int
    said: list[dict]
    errors: str

    @property
    def epochs(self) -> list[dict]:
        """The line of every epoch."""
        return [line for line in self.said if line["event"] == "batch"]


@pytest.fixture(scope="module")
def promoted(store, kafka, tmp_path_factory) -> Outcome:
    """Two promotions under load, the first of a version that must not serve, then an orderly stop."""
    (place, settings), folder = store, tmp_path_factory.mktemp("promoted")
    topics = Topics.new(kafka, "rt")
    readings = Readings(kafka.bootstrap, topics)
    with streaming(place, kafka, topics, folder) as process:
        with Feed(kafka.bootstrap, topics) as feed:
            readings.until(lambda: len(readings.scores) > 50, process)
            MlflowClient().set_registered_model_alias(settings.model_name, "Production", str(TORN))
            readings.until(lambda: any(line["event"] == "refused" for line in log_of(folder)), process)
            MlflowClient().set_registered_model_alias(settings.model_name, "Production", "2")
            readings.until(lambda: "2" in readings.versions(), process)
        readings.until(
            lambda: set(readings.events()) >= feed.good and len(readings.letters) >= feed.broken,
            process,
        )
        process.send_signal(signal.SIGTERM)
        code = process.wait(WAIT_SECONDS)
    return Outcome(feed, readings, code, log_of(folder), (folder / "err.txt").read_text())


def log_of(folder: Path) -> list[dict]:
    """The whole lines that a stream has logged."""
    said = (folder / "out.txt").read_text()
    return [json.loads(line) for line in said[: said.rfind("\n") + 1].splitlines() if line.startswith("{")]


def test_a_promotion_under_load_loses_nothing(promoted):
    assert set(promoted.readings.events()) == promoted.feed.good


def test_a_promotion_and_an_orderly_stop_send_nothing_twice(promoted):
    assert promoted.readings.repeated() == set()


def test_records_of_a_time_that_spark_cannot_hold_are_events_like_any_other(promoted):
    assert promoted.readings.events()["event-20"] == 1
    assert "lead-29" in {letter["lead"] for letter in promoted.readings.letters}


def test_every_score_names_the_version_that_made_it(promoted):
    assert promoted.readings.versions() == {"1", "2"}
    assert {line["version"] for line in promoted.epochs} == {1, 2}
    scores = promoted.readings.scores
    assert all(str(value["model_version"]) == headers["model_version"] for value, headers in scores)
    assert all(headers["epoch"].isdecimal() for _, headers in scores)


def test_a_version_that_cannot_be_read_is_refused_and_the_last_one_goes_on(promoted):
    (refused,) = [line for line in promoted.said if line["event"] == "refused"]
    assert refused["version"] == TORN
    assert "cannot be loaded" in refused["reason"]


def test_scores_and_grades_are_those_of_the_calibrated_pipeline(promoted, spark, graded):
    rows = graded.transform(small_leads(spark, 500)).select("LeadId", "calibrated", GRADE).collect()
    expected = {f"lead-{int(row.LeadId.removeprefix('lead-'))}": (row.calibrated, row[GRADE]) for row in rows}
    values = [value for value, _ in promoted.readings.scores if value["LeadId"] in expected]
    assert len({value["grade"] for value in values}) > 1
    assert {value["LeadId"]: (value["probability"], value["grade"]) for value in values}.items() <= expected.items()


def test_broken_events_are_letters_with_their_reason(promoted):
    letters = promoted.readings.letters
    assert {letter["reason"].split(":")[0] for letter in letters} == {"the event is not JSON"}
    assert {letter["raw"] for letter in letters} == {"{not json"}
    assert {letter["kind"] for letter in letters} == {"refused"}
    assert len({letter["origin"] for letter in letters}) == promoted.feed.broken


def test_a_stop_ends_the_epoch_and_the_log_counts_every_score(promoted, capsys):
    assert promoted.exit_code == 0
    assert "stopping at the end" in promoted.errors
    scored = sum(line["scored"] for line in promoted.epochs)
    assert scored == len(promoted.readings.scores), (promoted.said, promoted.errors)
    with capsys.disabled():
        latency = statistics.median(line["latency_ms"]["p50"] for line in promoted.epochs if line["latency_ms"]["p50"])
        print(f"\nreal-time: {scored} scores, median of the epochs' p50 {latency} ms")


def test_the_log_counts_what_was_refused_and_how_far_the_broker_is_ahead(promoted):
    assert sum(line["quarantined"] for line in promoted.epochs) == promoted.feed.broken
    assert all(isinstance(line["lag"], int) and line["lag"] >= 0 for line in promoted.epochs), promoted.epochs


def test_an_epoch_that_is_killed_is_sent_again_under_the_same_event_ids(store, kafka, tmp_path):
    place, _ = store
    topics = Topics.new(kafka, "rt-killed")
    readings = Readings(kafka.bootstrap, topics)
    # The first of two is killed within its epoch, and events go on to arrive.
    with Feed(kafka.bootstrap, topics) as feed, streaming(place, kafka, topics, tmp_path, epoch="60 seconds") as first:
        readings.until(lambda: len(readings.scores) > 50, first)
        before = set(readings.events())
    with streaming(place, kafka, topics, tmp_path, epoch="60 seconds") as second:
        readings.until(lambda: set(readings.events()) >= feed.good, second)
        readings.until(lambda: readings.repeated() >= before, second)
    tries = {(headers["event_id"], headers["epoch"]) for _, headers in readings.scores if headers["event_id"] in before}
    assert len(tries) == 2 * len(before), "the tries of an epoch are told apart by the header"


def test_real_time_mode_goes_on_when_its_broker_was_restarted(store, kafka, tmp_path):
    place, _ = store
    topics = Topics.new(kafka, "rt-broker")
    readings = Readings(kafka.bootstrap, topics)
    with streaming(place, kafka, topics, tmp_path) as process:
        with Feed(kafka.bootstrap, topics) as feed:
            readings.until(lambda: len(readings.scores) > 50, process)
            kafka.kill()
            time.sleep(8)  # an epoch ends, and it asks in vain
            kafka.start()
            before = len(readings.scores)
            readings.until(lambda: len(readings.scores) > before + 50, process)
        readings.until(lambda: set(readings.events()) >= feed.good, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


def test_too_few_task_slots_are_told_before_anything_starts(store, kafka):
    place, _ = store
    kafka.create_topic("rt-wide", 4)
    words = ["--mode", "real-time", "--source", "kafka:rt-wide", "--sink", "kafka", "--topic", "rt-none"]
    ended = place.run("stream", *words, LEADS_KAFKA=kafka.bootstrap, LEADS_MASTER="local[4]")
    assert ended.returncode == 2
    assert "rt-wide has 4 partitions; real-time mode needs a task slot for each and one more" in ended.stderr


def test_a_broker_that_stays_away_at_the_start_costs_one_line_and_exit_code_2(store):
    place, _ = store
    words = ["--registry-wait", "7 seconds", "--available-now", "true", "--sink", "parquet", "--source", "kafka:leads"]
    ended = place.run("stream", *words, LEADS_KAFKA="127.0.0.1:9")
    assert ended.returncode == 2
    assert "Kafka did not answer within 7 s (no broker answers). Start it, correct LEADS_KAFKA" in ended.stderr
    assert ended.stdout.count('"event": "kafka", "state": "unreachable"') >= 1


def test_a_registry_that_stays_down_at_the_start_costs_one_line_and_exit_code_2(store):
    place, _ = store
    words = ["--registry-wait", "1 second", "--available-now", "true", "--sink", "parquet"]
    ended = place.run("stream", *words, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert ended.returncode == 2
    assert "the registry did not answer within 1 s" in ended.stderr
    assert ended.stdout.count('"unreachable"') >= 1
