"""redrive: replay dead letters after a fix of the contract or the data, or of the receiver, each of them once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.contract import Contract
from features.storage import Storage, join
from pipelines.commands import Switch, run_command
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.stream_options import TOPIC, Connections, UnfitOptions
from serving.dead_letters import REFUSED, UNDELIVERED
from serving.errors import ServingError
from serving.kafka import KafkaOptions
from serving.ownership import absolute
from serving.redeliver import redeliver
from serving.redrive import FolderTarget, NoDeadLetters, Replay, TopicTarget, letters_of
from serving.redrive import redrive as replay
from serving.runtime.lease import CheckpointInUse, lease
from serving.sources import FileFormat
from serving.topics import partition_count
from serving.webhook import WebhookOptions

LETTER_JSON = (
    "event_id string, lead string, event_time timestamp, origin string, position long, raw string, reason string, "
    "failed_at timestamp, query string, kind string"
)


class AlreadyRuns(ServingError):
    """Another redrive replays by the same ledger."""


ALL, NONE = "all", "none"


class LetterKind(StrEnum):
    """Which dead letters: events that the contract refused, or hot leads that the webhook did not take."""

    REFUSED = REFUSED
    UNDELIVERED = UNDELIVERED


@dataclass(frozen=True)
class RedriveOptions:
    """Parameters of a redrive; see the command."""

    source: str = ""
    target: str = ""
    format: FileFormat = FileFormat.PARQUET
    kafka: KafkaOptions | None = None
    ledger: str = ""
    dry_run: bool = False
    kind: LetterKind = LetterKind.REFUSED
    webhook: WebhookOptions | None = None
    query: str = ""


def redrive(
    source: Annotated[str, typer.Option(help="a folder or kafka:TOPIC; empty: data/dead-letters")] = "",
    target: Annotated[str, typer.Option(help="folder or kafka:TOPIC that the stream reads; empty: data/stream")] = "",
    format: Annotated[FileFormat, typer.Option(help="files of a target folder: parquet or json")] = FileFormat.PARQUET,
    ledger: Annotated[str, typer.Option(help="folder of what was replayed; empty: data/redriven")] = "",
    dry_run: Annotated[Switch, typer.Option(help="say what would be replayed, and change nothing")] = Switch.FALSE,
    kind: Annotated[
        LetterKind, typer.Option(help="refused: to the stream; undelivered: to the webhook")
    ] = LetterKind.REFUSED,
    query: Annotated[str, typer.Option(help="whose letters: a query's id, none (real-time mode) or all")] = "",
) -> None:
    """Hand refused events that the contract accepts by now to the stream, or undelivered hot leads to the webhook."""
    settings, connections = Settings(), Connections()
    if kind is LetterKind.UNDELIVERED and target:
        raise UnfitOptions("kind=undelivered goes to the webhook (LEADS_WEBHOOK_URL); leave target out.")
    topics = [place for place in (source, target) if place.startswith(TOPIC)]
    kafka = connections.kafka_options() if topics else None
    # The leads are hot already: they were when they were posted first.
    webhook = connections.webhook_options(hot=0) if kind is LetterKind.UNDELIVERED else None
    options = RedriveOptions(source, target, format, kafka, ledger, bool(dry_run), kind, webhook, query)
    with spark_session(settings, "redrive", kafka=kafka is not None) as spark:
        found = run_redrive(spark, settings, options)
        print(f"{'dry run, nothing changed: ' if options.dry_run else ''}{found}")


def run_redrive(spark: SparkSession, settings: Settings, options: RedriveOptions = RedriveOptions()) -> Replay:
    """Replay what can be replayed; NoDeadLetters where there are none at the source, AlreadyRuns beside another.

    UnfitOptions where the letters are of several queries and `query` names none: another stream's events would go to
    this one's source, and count as replayed. KafkaRefused where the target is a topic that is not there.
    """
    contract, storage = settings.contract(), Storage(spark)
    source = options.source or settings.dead_letters
    letters = _of_query(_letters(spark, storage, source, options), source, options.query)
    if options.target.startswith(TOPIC):
        partition_count(spark, _cluster(options), options.target.removeprefix(TOPIC))
    ledger = absolute(spark, options.ledger or join(settings.data, "redriven"))
    with nullcontext() if options.dry_run else _alone(storage, ledger):
        return _replayed(letters, contract, settings, storage, ledger, options)


@contextmanager
def _alone(storage: Storage, ledger: str) -> Iterator[None]:
    """The right to replay by a ledger; AlreadyRuns where another redrive has it: both would replay the same letters."""
    with ExitStack() as held:
        try:
            held.enter_context(lease(storage, ledger))
        except CheckpointInUse:
            raise AlreadyRuns(
                f"another redrive replays by the ledger {ledger}, and two would send the same events; wait for its end."
            ) from None
        yield


def _replayed(
    letters: DataFrame, contract: Contract, settings: Settings, storage: Storage, ledger: str, options: RedriveOptions
) -> Replay:
    if options.webhook is not None:
        return redeliver(letters, options.webhook, storage, ledger, options.dry_run)
    place = options.target or settings.stream
    target: FolderTarget | TopicTarget
    if place.startswith(TOPIC):
        target = TopicTarget(_cluster(options), place.removeprefix(TOPIC), contract)
    elif options.format is FileFormat.CSV:
        raise NoDeadLetters("format=csv has no room for event ids; give format=parquet or format=json.")
    else:
        _refuse_other_files(storage, place, options.format)
        target = FolderTarget(storage, absolute(letters.sparkSession, place), options.format)
    return replay(letters, contract, target, storage, ledger, options.dry_run)


def _letters(spark: SparkSession, storage: Storage, source: str, options: RedriveOptions) -> DataFrame:
    if source.startswith(TOPIC):
        reader = spark.read.format("kafka").options(**_cluster(options).reader(), startingOffsets="earliest")
        records = reader.option("subscribe", source.removeprefix(TOPIC)).load()
        letters = records.select(F.from_json(F.col("value").cast("string"), LETTER_JSON).alias("letter"))
        return letters.select("letter.*").where(F.coalesce("kind", F.lit(REFUSED)) == str(options.kind))
    if not storage.list(join(source, f"kind={options.kind}")):
        raise NoDeadLetters(f"{source} holds no {options.kind} events; name the dead-letter folder of a stream.")
    return letters_of(spark.read.parquet(source), options.kind)


def _of_query(letters: DataFrame, source: str, query: str) -> DataFrame:
    """The letters of a query, or of all; in real-time mode letters name none."""
    if query == ALL:
        return letters
    of = F.coalesce(F.nullif("query", F.lit("")), F.lit(NONE))
    found = sorted(row[0] for row in letters.select(of).distinct().collect())
    named = ", ".join(found)
    if query and query not in found:
        raise NoDeadLetters(f"{source} holds no letters of the query {query}; there are those of {named or 'none'}.")
    if not query and len(found) > 1:
        raise UnfitOptions(
            f"{source} holds letters of several queries: {named}. Name one (query=...), and as target what that one "
            "reads; or query=all, where all of them read the target."
        )
    return letters.where(of == query) if query else letters


def _refuse_other_files(storage: Storage, folder: str, format: FileFormat) -> None:
    """UnfitOptions where the files of a folder are of another format: whoever reads them could not read the replay."""
    names = [entry.name for entry in storage.list(folder)]
    found = [other for other in FileFormat if any(name.endswith(f".{other}") for name in names)]
    if found and format not in found:
        raise UnfitOptions(
            f"{folder} holds files of the format {', '.join(found)}, and a stream that reads these would refuse one of "
            f"{format}. Give format=json for JSON; for CSV name a folder that a stream of source_format={format} reads."
        )


def _cluster(options: RedriveOptions) -> KafkaOptions:
    if options.kafka is None:
        raise NoDeadLetters("a Kafka topic is named and no cluster; set LEADS_KAFKA to host:port.")
    return options.kafka


if __name__ == "__main__":
    run_command(redrive)
