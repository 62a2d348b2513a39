"""Load on a Kafka topic and what comes out of another: a sender at a steady rate, a receiver, and a bare relay.

Each runs in a process of its own; times are wall-clock nanoseconds of the one machine that all of them run on.
"""

import json
import multiprocessing as mp
import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import Spread

PROCESSES = mp.get_context("spawn")
STEP_SECONDS = 0.001
QUIET_SECONDS = 15.0
WAITING = 1_000_000
BUNDLE, MOMENTS = 500, 200


@dataclass(frozen=True)
class Received:
    """What became of the events of one load. Latency in ms, from the call that sends an event to its arrival."""

    sent: int
    received: int
    lost: int
    doubled: int
    unversioned: int
    versions: frozenset[str]
    latency: npt.NDArray[np.float64]
    sent_at: npt.NDArray[np.int64]
    received_at: npt.NDArray[np.int64]

    @property
    def spread(self) -> Spread:
        """Quantiles of the latency."""
        return Spread.of(self.latency)

    @property
    def keeps_up(self) -> bool:
        """Whether nothing was lost, and no more events were on their way in the last third than in the middle one.

        By three tenths and a tenth of a second's events: micro-batches come in bursts.
        """
        if self.lost or not self.sent:
            return False
        begin, end = int(self.sent_at[0]), int(self.sent_at[-1])
        third, second = (end - begin) / 3, 1e9 * (self.sent - 1) / max(1, end - begin)
        middle, last = (self._on_their_way(begin + n * third, begin + (n + 1) * third) for n in (1, 2))
        return bool(last <= 1.3 * middle + 0.1 * second)

    def _on_their_way(self, begin: float, end: float) -> float:
        """Mean number of events that were sent and had not arrived, between two moments."""
        moments = np.linspace(begin, end, MOMENTS)
        sent, arrived = (np.searchsorted(np.sort(times), moments) for times in (self.sent_at, self.received_at))
        return float(np.mean(sent - arrived))

    def gaps(self) -> npt.NDArray[np.float64]:
        """Seconds between two events that arrived one after the other."""
        return np.diff(np.sort(self.received_at)) / 1e9


@dataclass
class Probe:
    """A receiver that is up; `load` sends through the topic and waits until all of it is back, or all is quiet."""

    bootstrap: str
    source: str
    inbox: Any

    def load(self, values: Sequence[str], rate: float, seconds: float, mark: str) -> Received:
        """Send `rate` events a second for some seconds; each value is a template (`filled`)."""
        outbox = PROCESSES.Queue()
        args = (self.bootstrap, self.source, list(values), rate, seconds, mark, outbox)
        sender = PROCESSES.Process(target=send, args=args, daemon=True)
        sender.start()
        sent: npt.NDArray[np.int64] | None = None
        at = np.zeros(round(rate * seconds), np.int64)
        doubled, unversioned, quiet_since = 0, 0, time.monotonic()
        versions: set[str] = set()
        while sent is None or (np.count_nonzero(at) < len(sent) and time.monotonic() - quiet_since < QUIET_SECONDS):
            if sent is None and not outbox.empty():
                sent, quiet_since = outbox.get(), time.monotonic()
            try:
                arrived = self.inbox.get(timeout=0.2)
            except queue.Empty:
                continue
            for name, moment, version in arrived:
                own, number = name.rsplit("-", 1)
                if own != mark:
                    continue
                quiet_since = time.monotonic()
                doubled += at[int(number)] > 0
                unversioned += not version
                versions.add(version)
                at[int(number)] = at[int(number)] or moment
        sender.join()
        back = at > 0
        latency = (at[back] - sent[back]) / 1e6
        count = int(np.count_nonzero(back))
        lost, told = len(sent) - count, frozenset(versions)
        return Received(len(sent), count, lost, int(doubled), unversioned, told, latency, sent, at[back])


@contextmanager
def probe(bootstrap: str, source: str, target: str) -> Iterator[Probe]:
    """A receiver on `target` for the length of the block."""
    inbox, ready = PROCESSES.Queue(), PROCESSES.Event()
    receiver = PROCESSES.Process(target=receive, args=(bootstrap, target, inbox, ready), daemon=True)
    receiver.start()
    if not ready.wait(60):
        raise TimeoutError(f"no receiver on {target} within 60 s")
    try:
        yield Probe(bootstrap, source, inbox)
    finally:
        receiver.terminate()
        receiver.join()


@contextmanager
def relay(bootstrap: str, source: str, target: str) -> Iterator[None]:
    """A process that copies every message of `source` to `target`, for the length of the block: the floor."""
    copier = PROCESSES.Process(target=copy, args=(bootstrap, source, target), daemon=True)
    copier.start()
    try:
        yield
    finally:
        copier.terminate()
        copier.join()


def send(bootstrap: str, topic: str, values: list[str], rate: float, seconds: float, mark: str, outbox: Any) -> None:
    """Send events at a steady rate; the moment of each goes into the outbox, as one array."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": 1, "queue.buffering.max.messages": WAITING}
    )
    count = round(rate * seconds)
    moments = np.zeros(count, np.int64)
    begin, done = time.perf_counter(), 0
    while done < count:
        due = min(count, int((time.perf_counter() - begin) * rate) + 1)
        for number in range(done, due):
            name = f"{mark}-{number}"
            value = filled(values[number % len(values)], name)
            moments[number] = time.time_ns()
            producer.produce(topic, value, name, headers={"event_id": name})
        done = due
        producer.poll(0)
        time.sleep(STEP_SECONDS if rate < 5000 else 0)
    producer.flush(60)
    outbox.put(moments)


def filled(template: str, name: str) -> str:
    """A template with the event's id in place of the text "ID"; a key that ends with these letters stays itself."""
    return template.replace('"ID"', json.dumps(name))


def receive(bootstrap: str, topic: str, inbox: Any, ready: Any) -> None:
    """Put (event id, moment, the version that scored it) of every message of a topic into the inbox."""
    consumer, arrived = _consumer(bootstrap, topic), []
    ready.set()
    while True:
        message = consumer.poll(0.02)
        if message is not None and message.error() is None:
            headers = dict(message.headers() or [])
            name = (headers.get("event_id") or message.key() or b"").decode()
            arrived.append((name, time.time_ns(), headers.get("model_version", b"").decode()))
        if arrived and (message is None or len(arrived) >= BUNDLE):
            inbox.put(arrived)
            arrived = []


def probabilities(bootstrap: str, topic: str, mark: str) -> dict[int, float]:
    """The probability of each event of one load, by the event's number, from a topic of scores that is complete."""
    consumer, found = _consumer(bootstrap, topic), {}
    while (message := consumer.poll(QUIET_SECONDS / 3)) is not None:
        own, number = dict(message.headers() or [])["event_id"].decode().rsplit("-", 1)
        if own == mark:
            found[int(number)] = float(json.loads(message.value())["probability"])
    consumer.close()
    return found


def copy(bootstrap: str, source: str, target: str) -> None:
    """Read and write without looking."""
    from confluent_kafka import Producer

    consumer = _consumer(bootstrap, source)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": 1})
    while True:
        message = consumer.poll(0.05)
        if message is not None and message.error() is None:
            producer.produce(target, message.value(), message.key(), headers=message.headers())
            producer.poll(0)


def _consumer(bootstrap: str, topic: str) -> Any:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "fetch.wait.max.ms": 20})
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    return consumer
