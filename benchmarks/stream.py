"""make bench-stream: latency of the stream, ours beside the original's design and beside a relay without Spark.

Needs the jars of `make jars`. LEADS_CSV names the real leads; without it a generated sample is used.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer

from benchmarks import original
from benchmarks.answers import check_events, check_scores, check_written
from benchmarks.kafka_load import Received, probabilities, probe, relay
from benchmarks.report import Table, publish
from benchmarks.stream_tables import (
    EPOCH_SECONDS,
    RATE,
    RATE_SECONDS,
    RELOAD_RATE,
    STEADY,
    file_row,
    lost_and_doubled,
    stream_tables,
)
from benchmarks.summary import summarise
from benchmarks.workplace import Workplace, event_templates, promote, with_production, workplace
from features.stages import ForestParams
from pipelines.datasets import load_prepared
from pipelines.session import build_session
from pipelines.tracking import connect
from serving.compiled.artifact import load_compiled
from serving.compiled.scorer import CompiledScorer
from serving.registry import resolve
from tests.services import KafkaBroker, ServiceMissing

# Of real-time mode, the first epoch: Java compiles at its end what it runs at every end. The relay is the first load
# of a broker that has just been started, which is compiled meanwhile.
WARM = {"relay": 40.0, "micro-batch": 20.0, "real-time": EPOCH_SECONDS + 5.0}
# What Kafka's own scripts start a broker with; by Java's defaults its collections alone delay one event in 200.
BROKER_JAVA = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
RATES = (1000, 2000, 4000, 8000, 16000, 32000)
# A promotion takes effect at the end of a batch or an epoch, which must fall into the load.
PROMOTED_AFTER, RELOADS = 20, {"micro-batch": 40.0, "real-time": 40.0 + EPOCH_SECONDS}


@dataclass
class Bench:
    """What every measurement needs."""

    place: Workplace
    broker: KafkaBroker
    values: list[str]
    compiled: CompiledScorer

    def topics(self, name: str) -> tuple[str, str]:
        """A source and a target topic of one partition, newly made."""
        source, target = f"{name}-leads", f"{name}-scores"
        for topic in (source, target, f"{target}-dead-letters"):
            self.broker.create_topic(topic)
        return source, target

    @contextmanager
    def scorer(self, name: str, mode: str, source: str, target: str) -> Iterator[None]:
        """The stream as a process, until the end of the block."""
        words = ["--source", f"kafka:{source}", "--sink", "kafka", "--topic", target, "--mode", mode]
        words += ["--trigger", "0 seconds"] if mode == "micro-batch" else ["--epoch", f"{EPOCH_SECONDS} seconds"]
        words += ["--dead-letters", f"kafka:{target}-dead-letters", "--poll", "1 second", "--log", "off"]
        words += ["--checkpoint", str(self.place.folder / f"checkpoint-{name}")]
        process = self.place.command("pipelines.stream", *words, LEADS_KAFKA=self.broker.bootstrap)
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the stream of {name} ended with {process.returncode}")
        finally:
            process.kill()
            process.wait()

    def check(self, mode: str) -> None:
        """Hold every score of the steady load against the compiled scorer's of the event's template."""
        found = probabilities(self.broker.bootstrap, f"steady-{mode}-scores", mode)
        wanted = template_scores(self.values, self.compiled)
        check_scores(f"{mode}, {RATE:,}/s", list(found.values()), [wanted[n % len(wanted)] for n in found])


def main(quick: bool = typer.Option(False, help="shorter loads, to see that it works")) -> None:
    """Measure everything, print the tables, and keep them in benchmarks/results/stream.md and .json."""
    need_jars()
    with workplace() as place:
        publish("stream", measure(place, quick), {"leads": place.leads})
    print(summarise())


def need_jars() -> None:
    """End with code 2 where the broker's jars are not there."""
    try:
        KafkaBroker.need_jars()
    except ServiceMissing as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def measure(place: Workplace, quick: bool = False) -> list[Table]:
    """The tables of the stream, in a workplace in which nothing is prepared yet.

    WrongAnswers where ours lost an event, scored one twice, or gave one of the files or of the steady loads another
    score than the compiled scorer.
    """
    scale = 0.2 if quick else 1.0
    spark = build_session(place.settings, "bench-stream")
    with_production(spark, place, versions=2)
    contract, data = place.settings.contract(), load_prepared(spark, place.settings)
    fields = contract.feature_set("available")
    peer = original.fit(data.train, fields, contract.label.name, ForestParams())
    peer.write().overwrite().save(str(place.folder / "original-model"))
    values = event_templates(spark, place, contract)
    compiled = load_compiled(resolve(connect(place.settings), place.settings.model_name))
    spark.stop()
    broker_folder = place.folder / "kafka"
    broker_folder.mkdir()
    with KafkaBroker(broker_folder, BROKER_JAVA) as broker:
        bench = Bench(place, broker, values, compiled)
        originals, ours = [_original_files(place, session) for session in ("plain", "tuned")], _our_files(place)
        loads = {"relay": _relay(bench, 30 * scale)}
        for mode, seconds in STEADY.items():
            loads[mode] = _steady(bench, mode, seconds * scale)
        rates = {mode: _highest(bench, mode, RATES[: 2 if quick else None]) for mode in STEADY}
        reloads = {mode: _reload(bench, mode, seconds) for mode, seconds in RELOADS.items()}
        check_events(lost_and_doubled(ours, loads, rates, reloads))
        for mode in STEADY:
            bench.check(mode)
    scores, source = place.folder / "ours" / "scores", place.folder / "data" / "stream"
    check_written(ours["what"], scores, source, compiled, contract)
    return stream_tables(place, [*originals, ours], loads, rates, reloads)


def template_scores(values: Sequence[str], compiled: CompiledScorer) -> list[float]:
    """The compiled scorer's probability of each event; what an event leaves out is unanswered."""
    events = [json.loads(value) for value in values]
    leads = [{name: event.get(name) for name in compiled.description.fields} for event in events]
    return [float(compiled.score_one(lead)["probability"]) for lead in leads]


def _original_files(place: Workplace, session: str) -> dict[str, Any]:
    folder = place.folder / f"original-{session}"
    folder.mkdir()
    words = [str(place.folder / "data" / "stream"), str(place.folder / "original-model")]
    process = place.command(
        "benchmarks.original", *words, *(str(folder / n) for n in ("scores", "checkpoint", "times.json")), session
    )
    process.communicate()
    times = json.loads((folder / "times.json").read_text())
    return file_row(f"files, original design, {session} session", place, times, folder / "scores")


def _our_files(place: Workplace) -> dict[str, Any]:
    folder = place.folder / "ours"
    words = ["--sink", "parquet", "--available-now", "true", "--output", str(folder / "scores")]
    process = place.command("pipelines.stream", *words, "--checkpoint", str(folder / "checkpoint"))
    said, _ = process.communicate()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    times = [line["batch_ms"] for line in lines if line["event"] == "batch"]
    return file_row("files, micro-batch", place, times, folder / "scores")


def _told(name: str, load: Received) -> Received:
    """A load as it is, told at once: the table is printed half an hour after the start."""
    typer.echo(f"{name}: {load.spread}, lost {load.lost}, doubled {load.doubled}", err=True)
    return load


def _relay(bench: Bench, seconds: float) -> Received:
    source, target = bench.topics("relay")
    with probe(bench.broker.bootstrap, source, target) as load, relay(bench.broker.bootstrap, source, target):
        load.load(bench.values, RATE, WARM["relay"], "warm")
        return _told("relay", load.load(bench.values, RATE, seconds, "relay"))


@contextmanager
def _running(bench: Bench, name: str, mode: str, warm: float = 20) -> Iterator[Any]:
    """A scorer that has scored events for `warm` seconds, and the probe around it."""
    source, target = bench.topics(name)
    with probe(bench.broker.bootstrap, source, target) as load, bench.scorer(name, mode, source, target):
        deadline = time.monotonic() + 180
        while load.load(bench.values, 50, 1, f"first{time.monotonic_ns()}").lost:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the stream of {name} scored nothing within 180 s")
        load.load(bench.values, RATE, warm, "warm")
        yield load


def _steady(bench: Bench, mode: str, seconds: float) -> Received:
    with _running(bench, f"steady-{mode}", mode, WARM[mode]) as load:
        return _told(mode, load.load(bench.values, RATE, seconds, mode))


def _highest(bench: Bench, mode: str, rates: Sequence[int]) -> dict[int, Received]:
    """Loads of half a minute at rising rates, up to the first that the stream does not keep up with."""
    found: dict[int, Received] = {}
    with _running(bench, f"rates-{mode}", mode) as load:
        for rate in rates:
            found[rate] = _told(f"{mode}, {rate}/s", load.load(bench.values, rate, RATE_SECONDS, f"r{rate}"))
            if not found[rate].keeps_up:
                break
    return found


def _reload(bench: Bench, mode: str, seconds: float) -> Received:
    """A load during which the other version is promoted."""
    import threading

    with _running(bench, f"reload-{mode}", mode) as load:
        timer = threading.Timer(PROMOTED_AFTER, lambda: promote(bench.place, 2))
        timer.start()
        try:
            found = _told(f"{mode}, promotion", load.load(bench.values, RELOAD_RATE, seconds, "reload"))
        finally:
            timer.cancel()
            timer.join()
    promote(bench.place, 1)
    if found.versions != {"1", "2"}:
        raise RuntimeError(f"{mode}: the promotion did not fall into the load: scored by {sorted(found.versions)}")
    return found


if __name__ == "__main__":
    typer.run(main)
