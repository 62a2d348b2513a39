"""stream: score the leads that arrive, every one once, by the version that is in Production, for as long as it is."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Annotated, Any

import mlflow
import typer
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from features.storage import Storage
from pipelines.commands import Switch, console_of, run_command
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.stream_options import Connections, StreamOptions, check, uses_kafka
from pipelines.stream_plan import (
    StreamPlan,
    dead_letter_folder,
    ids_of_topics,
    is_watched,
    missing_folder,
    places_of,
    refuse_missing_folder,
    refuse_unfit_topics,
    session_settings,
)
from pipelines.stream_run import lenient_run, record
from pipelines.tracking import connect
from serving.errors import Away, StopAsked
from serving.model_copies import remove_abandoned
from serving.ownership import bind
from serving.queries import Batch, Mode
from serving.registry import ResolvedVersion, resolve
from serving.runtime.endpoints import Endpoints
from serving.runtime.journal import Journal, LogTo
from serving.runtime.lease import lease
from serving.runtime.source_watch import SourceWatch
from serving.runtime.status import Metrics, Status
from serving.runtime.supervisor import Supervisor, Totals
from serving.runtime.watch import KAFKA, REGISTRY, Answer, Served, Server, Watch, await_server
from serving.sources import FileFormat
from serving.topics import reach

# A client of MLflow that asks seven times, two minutes each, would hold up a stop while the registry is down.
MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
WIDTH = 160  # columns, enough for a scored lead whose id is a UUID


@dataclass(frozen=True)
class StreamSummary:
    """What a stream did: leads and micro-batches scored, and how long whole batches took (ms)."""

    run_id: str
    version: int
    rows: int
    batches: int
    p50_ms: float
    p95_ms: float
    output: str

    def __str__(self) -> str:
        where = f"; scores in {self.output}" if self.output else ""
        return (
            f"version {self.version} scored {self.rows:,} leads in {self.batches:,} micro-batches "
            f"(p50 {self.p50_ms:.0f} ms, p95 {self.p95_ms:.0f} ms){where}"
        )


DEFAULTS = StreamOptions()


def _help(name: str) -> str:
    return StreamOptions.model_fields[name].description or ""


def stream(
    source: Annotated[str, typer.Option(help=_help("source"))] = "",
    source_format: Annotated[FileFormat, typer.Option(help=_help("source_format"))] = DEFAULTS.source_format,
    starting_offsets: Annotated[str, typer.Option(help=_help("starting_offsets"))] = DEFAULTS.starting_offsets,
    sink: Annotated[str, typer.Option(help=_help("sink"))] = DEFAULTS.sink,
    output: Annotated[str, typer.Option(help=_help("output"))] = "",
    topic: Annotated[str, typer.Option(help=_help("topic"))] = "",
    dead_letters: Annotated[str, typer.Option(help=_help("dead_letters"))] = "",
    checkpoint: Annotated[str, typer.Option(help=_help("checkpoint"))] = "",
    mode: Annotated[Mode, typer.Option(help=_help("mode"))] = DEFAULTS.mode,
    trigger: Annotated[str, typer.Option(help=_help("trigger"))] = DEFAULTS.trigger,
    epoch: Annotated[str, typer.Option(help=_help("epoch"))] = DEFAULTS.epoch,
    available_now: Annotated[Switch, typer.Option(help=_help("available_now"))] = Switch.FALSE,
    max_files_per_trigger: Annotated[int, typer.Option(min=1, help=_help("max_files_per_trigger"))] = 1,
    max_offsets_per_trigger: Annotated[
        int, typer.Option(min=0, help=_help("max_offsets_per_trigger"))
    ] = DEFAULTS.max_offsets_per_trigger,
    fail_on_data_loss: Annotated[Switch, typer.Option(help=_help("fail_on_data_loss"))] = Switch.TRUE,
    hot: Annotated[float, typer.Option(min=0, max=100, help=_help("hot"))] = 70,
    reasons: Annotated[Switch, typer.Option(help=_help("reasons"))] = Switch.FALSE,
    version: Annotated[str, typer.Option(help=_help("version"))] = DEFAULTS.version,
    poll: Annotated[str, typer.Option(help=_help("poll"))] = DEFAULTS.poll,
    registry_wait: Annotated[str, typer.Option(help=_help("registry_wait"))] = DEFAULTS.registry_wait,
    drain: Annotated[str, typer.Option(help=_help("drain"))] = DEFAULTS.drain,
    stuck_after: Annotated[str, typer.Option(help=_help("stuck_after"))] = DEFAULTS.stuck_after,
    log: Annotated[LogTo, typer.Option(help=_help("log"))] = DEFAULTS.log,
    health_port: Annotated[int, typer.Option(min=0, max=65535, help=_help("health_port"))] = 0,
    health_host: Annotated[str, typer.Option(help=_help("health_host"))] = DEFAULTS.health_host,
) -> None:
    """Score every lead once, as it arrives; SIGTERM or Ctrl-C ends the stream at the end of a batch or epoch."""
    given = {name: value for name, value in locals().items() if name in StreamOptions.model_fields}
    settings, connections = Settings(), Connections()
    switches = {"available_now": available_now, "reasons": reasons, "fail_on_data_loss": fail_on_data_loss}
    options = StreamOptions(**given | {name: bool(switch) for name, switch in switches.items()})
    check(options, connections)
    for name, value in MLFLOW_PATIENCE.items():
        os.environ.setdefault(name, value)
    settings, kafka = session_settings(settings, options)
    # The session takes SIGINT for itself when it starts: ours comes after it.
    with (
        spark_session(settings, "stream", kafka=kafka, beside=_open_store) as spark,
        stop_on_signals() as stop,
    ):
        try:
            print(run_stream(spark, settings, options, stop, connections=connections))
        except StopAsked as asked:
            print(asked)


def _open_store(settings: Settings) -> None:
    """Open the tracking store, which takes a second, while Java starts; where it is away, the stream will wait."""
    with suppress(Exception):  # a database as store raises its driver's own
        connect(settings)


def run_stream(
    spark: SparkSession,
    settings: Settings,
    options: StreamOptions = DEFAULTS,
    stop: threading.Event | None = None,
    report: Callable[[Batch], None] | None = None,
    console: Console | None = None,
    connections: Connections | None = None,
) -> StreamSummary:
    """Run the stream within a tracked run, until it ends by itself (available_now) or `stop` is set.

    `report` is called after every micro-batch, on another thread; without it a line of JSON is logged. Bad parameters
    and places, a registry that stays away, a version that must not serve and a checkpoint that is in use are errors
    of serving, raised before the first batch, and so is StopAsked; LeaseLost may come later.
    """
    stop, connections = stop or threading.Event(), connections or Connections()
    check(options, connections)
    journal = Journal.to(LogTo.OFF if report else options.log)
    status = Status(options.seconds("stuck_after") + _longest_batch(options))
    metrics = Metrics(status)

    def unanswered(event: str, **told: Any) -> None:
        if event == KAFKA.event:
            status.source = told["reason"]
        else:
            status.registry = told["reason"]
        journal.say(event, **told)

    def awaited(ask: Callable[[], Answer], silence: type[Exception] = Exception, server: Server = REGISTRY) -> Answer:
        answer = await_server(ask, options.seconds("registry_wait"), unanswered, stop, silence, server)
        status.registry = status.source = ""
        return answer

    def undelivered(number: int, leads: int, reason: str) -> None:
        metrics.undelivered(leads)
        journal.say("undelivered", batch=number, leads=leads, reason=reason)

    # Whoever watches the process has answers while it still waits for the registry or Kafka.
    with Endpoints(status, metrics, options.health_port, options.health_host) if options.health_port else nullcontext():
        awaited(lambda: connect(settings))
        places = places_of(spark, settings, options)
        letters = dead_letter_folder(spark, settings, options)
        console = console or console_of(WIDTH)
        plan = StreamPlan(spark, settings.contract(), options, connections, places, letters, console, stop, undelivered)
        recorded = {"source": places.source, "output": places.output, "checkpoint": places.checkpoint}
        with lenient_run(settings, {**options.model_dump(mode="json"), **recorded}, journal, awaited) as run:
            refuse_missing_folder(spark, places, options)
            if uses_kafka(options):
                awaited(lambda: reach(spark, connections.kafka_options()), Away, KAFKA)
            refuse_unfit_topics(spark, options, connections, places)
            version = awaited(lambda: resolve(connect(settings), settings.model_name, options.version))
            tags = {"model_name": version.name, "model_version": str(version.version)}
            awaited(lambda: mlflow.set_tags(tags))
            for left in remove_abandoned(Storage(spark)):
                journal.say("removed", abandoned=left)
            served = awaited(lambda: plan.ready(version), Away)
            totals = _serve(plan, settings, served, journal, metrics, report or (lambda batch: None))
            return _summary(run.info.run_id, totals, places.output, journal)


def _serve(
    plan: StreamPlan,
    settings: Settings,
    served: Served[DataFrame],
    journal: Journal,
    metrics: Metrics,
    report: Callable[[Batch], None],
) -> Totals:
    """Hold the checkpoint, and keep a query running on it."""
    options, storage, version = plan.options, Storage(plan.spark), served.version

    def named() -> ResolvedVersion:
        return resolve(connect(settings), settings.model_name, options.version)

    watch = None
    if not (options.version.isdecimal() or options.available_now):
        watch = Watch(named, plan.ready, version, options.seconds("poll"), journal.say)
    with ExitStack() as held:
        right = held.enter_context(lease(storage, plan.places.checkpoint))
        topics = ids_of_topics(plan.spark, options, plan.connections)
        plan.open(bind(storage, plan.places, version.name, plan.dead_letters, topics))
        held.callback(plan.close)
        journal.about = {"query": plan.query, "model": version.name, "mode": str(options.mode)}
        journal.say("started", version=version.version, source=plan.places.source, sinks=options.sinks)
        held.enter_context(watch or nullcontext())
        if is_watched(plan.places):
            missing = partial(missing_folder, plan.spark, plan.places, options)
            held.enter_context(SourceWatch(missing, journal, metrics.status))
        return Supervisor(
            start=lambda ready: plan.start(ready, right.check, report),
            stop=plan.stop,
            lease=right,
            watch=watch,
            journal=journal,
            status=metrics.status,
            metrics=metrics,
            drain=options.seconds("drain"),
        ).run(served)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second signal does what it did before."""
    stop, before = threading.Event(), {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        # Not print: a signal may come while the log is within a print of its own, which does not bear a second one.
        with suppress(OSError):
            os.write(2, b"stopping at the end of this batch or epoch\n")
        stop.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


def _longest_batch(options: StreamOptions) -> float:
    """What a batch takes by its nature (s): an epoch, in real-time mode."""
    return options.seconds("epoch") if options.mode is Mode.REAL_TIME else 0.0


def _summary(run_id: str, totals: Totals, output: str, journal: Journal) -> StreamSummary:
    p50, p95 = totals.durations.quantile(0.5), totals.durations.quantile(0.95)
    measured = {"rows_scored": totals.rows, "batches": totals.batches, "batch_p50_ms": p50, "batch_p95_ms": p95}
    record(measured, totals.versions, journal)
    return StreamSummary(run_id, totals.versions[-1], totals.rows, totals.batches, p50, p95, output)


if __name__ == "__main__":
    run_command(stream)
