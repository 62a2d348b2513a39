"""stream: score the leads that arrive in a folder, every one once, by the model version that is in Production."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

import mlflow
import typer
from pydantic import BaseModel, Field
from pyspark.sql import SparkSession
from rich.console import Console

from features.storage import Storage, join
from pipelines.commands import Switch, run_command
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, tracked_run
from serving.models import load_version
from serving.ownership import Places, absolute, bind
from serving.queries import Batch, BatchWriter, Durations, await_end, parse_trigger, start_query
from serving.registry import resolve
from serving.scoring import scored
from serving.sinks import ConsoleSink, ParquetSink, Sink, SinkName, parse_sinks
from serving.sources import file_stream, lead_files


class StreamOptions(BaseModel, frozen=True, extra="forbid"):
    """Parameters of the stream; empty places mean the defaults under the data folder."""

    source: str = Field("", description="folder that lead files arrive in; empty: data/stream")
    sink: str = Field("console,parquet", description="comma-separated list of console and parquet")
    output: str = Field("", description="folder of the scores; empty: data/scores/stream")
    checkpoint: str = Field("", description="folder of the query's progress; empty: data/checkpoints/stream")
    trigger: str = Field("30 seconds", description="time between two micro-batches")
    available_now: bool = Field(False, description="score what is there now, then end")
    max_files_per_trigger: int = Field(1, ge=1, description="most files in a micro-batch")
    version: str = Field("Production", min_length=1, description="alias or number of the model version")


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


def stream(
    source: Annotated[str, typer.Option(help="folder that lead files arrive in; empty: data/stream")] = "",
    sink: Annotated[str, typer.Option(help="comma-separated list of console and parquet")] = DEFAULTS.sink,
    output: Annotated[str, typer.Option(help="folder of the scores; empty: data/scores/stream")] = "",
    checkpoint: Annotated[str, typer.Option(help="folder of the progress; empty: data/checkpoints/stream")] = "",
    trigger: Annotated[str, typer.Option(help="time between two micro-batches")] = DEFAULTS.trigger,
    available_now: Annotated[Switch, typer.Option(help="score what is there now, then end")] = Switch.FALSE,
    max_files_per_trigger: Annotated[int, typer.Option(min=1, help="most files in a micro-batch")] = 1,
    version: Annotated[str, typer.Option(help="alias or number of the model version")] = DEFAULTS.version,
) -> None:
    """Score every lead file once, as it arrives; SIGTERM or Ctrl-C ends the stream at the end of a batch."""
    settings = Settings()
    options = StreamOptions(
        source=source,
        sink=sink,
        output=output,
        checkpoint=checkpoint,
        trigger=trigger,
        available_now=bool(available_now),
        max_files_per_trigger=max_files_per_trigger,
        version=version,
    )
    _check(options)
    # The session takes SIGINT for itself when it starts: ours comes after it.
    with spark_session(settings, "stream") as spark, stop_on_signals() as stop:
        print(run_stream(spark, settings, options, stop))


def run_stream(
    spark: SparkSession,
    settings: Settings,
    options: StreamOptions = DEFAULTS,
    stop: threading.Event | None = None,
    report: Callable[[Batch], None] | None = None,
    console: Console | None = None,
) -> StreamSummary:
    """Run the stream within a tracked run, until it ends by itself (available_now) or `stop` is set.

    `report` is called after every micro-batch, on another thread; without it a line is printed. The errors of
    serving.sources, ownership, scoring, registry and models come before the first batch.
    """
    _check(options)
    places, storage = _places(spark, settings, options), Storage(spark)
    with tracked_run(settings, "stream", {**options.model_dump(), **_params(places)}) as run:
        schema = lead_files(spark, places.source).schema
        version = resolve(connect(settings), settings.model_name, options.version)
        mlflow.set_tags({"model_name": version.name, "model_version": str(version.version)})
        leads = file_stream(spark, places.source, schema, options.max_files_per_trigger)
        plan = scored(leads, load_version(spark, version), version, settings.contract())
        query_id = bind(storage, places, version.name)
        said = report or _print_line(f"{version.name} version {version.version}")
        sinks = _sinks(storage, places, query_id, options, console or Console())
        writer = BatchWriter(sinks, stop or threading.Event(), said)
        trigger = None if options.available_now else parse_trigger(options.trigger)
        print(f"scoring {places.source} by {version.name} version {version.version}", flush=True)
        durations = await_end(start_query(plan, writer, places.checkpoint, trigger), writer)
        return _summary(run.info.run_id, version.version, writer, durations, places)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second signal does what it did before."""
    stop, before = threading.Event(), {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        print("stopping at the end of this micro-batch", flush=True)
        stop.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


def _check(options: StreamOptions) -> None:
    parse_sinks(options.sink)
    parse_trigger(options.trigger)


def _places(spark: SparkSession, settings: Settings, options: StreamOptions) -> Places:
    """Where the query reads and writes; what only goes to the console has a checkpoint of its own."""
    stored = SinkName.PARQUET in parse_sinks(options.sink)
    output = options.output or join(settings.data, "scores", "stream")
    checkpoint = join(settings.data, "checkpoints", "stream" if stored else "stream-console")
    return Places(
        source=absolute(spark, options.source or settings.stream),
        output=absolute(spark, output) if stored else "",
        checkpoint=absolute(spark, options.checkpoint or checkpoint),
    )


def _params(places: Places) -> dict[str, str]:
    return {"source": places.source, "output": places.output, "checkpoint": places.checkpoint}


def _sinks(storage: Storage, places: Places, query: str, options: StreamOptions, console: Console) -> list[Sink]:
    """Parquet before the console: what is shown has been stored."""
    sinks: list[Sink] = []
    if places.output:
        parquet = ParquetSink(storage, places.output, query)
        parquet.clear_staging()
        sinks.append(parquet)
    if SinkName.CONSOLE in parse_sinks(options.sink):
        sinks.append(ConsoleSink(console))
    return sinks


def _print_line(by: str) -> Callable[[Batch], None]:
    def line(batch: Batch) -> None:
        print(f"batch {batch.number}: {batch.rows:,} leads scored by {by} in {batch.seconds:.2f} s", flush=True)

    return line


def _summary(run_id: str, version: int, writer: BatchWriter, durations: Durations, places: Places) -> StreamSummary:
    p50, p95 = durations.quantile(0.5), durations.quantile(0.95)
    mlflow.log_metrics(
        {"rows_scored": writer.rows, "batches": writer.batches, "batch_p50_ms": p50, "batch_p95_ms": p95}
    )
    return StreamSummary(run_id, version, writer.rows, writer.batches, p50, p95, places.output)


if __name__ == "__main__":
    run_command(stream)
