"""The stream put together from its parameters: where it reads and writes, the plan of a version, how it is started."""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from features.contract import Contract
from features.storage import Storage, join
from pipelines.settings import Settings
from pipelines.stream_options import TOPIC, Connections, SinkName, StreamOptions, UnfitOptions, uses_kafka
from serving.compiled.artifact import load_explaining
from serving.compiled.in_spark import ship
from serving.dead_letters import DeadLetterFolder, DeadLetters, DeadLetterSink, DeadLetterTopic
from serving.file_account import FileAccount
from serving.kafka_sink import EPOCH, KafkaSink, kafka_rows, planned
from serving.lake import LakeSink
from serving.models import load_version
from serving.ownership import Places, absolute, refuse_older
from serving.postgres import PostgresSink
from serving.queries import Batch, BatchWriter, Mode, Running, start_micro_batches, start_real_time
from serving.registry import ResolvedVersion
from serving.runtime.probe import probe
from serving.runtime.watch import Served
from serving.settled_plan import Plan, settled
from serving.sinks import ConsoleSink, Sink
from serving.sources import BadSource, FileOptions, SourceOptions, TopicOptions, arrivals, no_events
from serving.tally import observed
from serving.topics import partition_count, topic_ids
from serving.version_plan import version_plan
from serving.webhook import Tell, WebhookSink

# Of a local session in real-time mode, whose tasks wait for events most of the time.
REAL_TIME_SLOTS = 32
# How often the query of a version is run over no events before it meets any: in a new process, and in a warm one.
WARM_ROUNDS, WARM_ROUNDS_OF_RELOAD = {Mode.MICRO_BATCH: 0, Mode.REAL_TIME: 20}, 1


@dataclass
class StreamPlan:
    """What is the same for every version that a stream serves."""

    spark: SparkSession
    contract: Contract
    options: StreamOptions
    connections: Connections
    places: Places
    dead_letters: str
    console: Console
    stop: threading.Event = field(default_factory=threading.Event)
    undelivered: Tell = lambda number, leads, reason: None
    query: str = ""
    sinks: list[Sink] = field(default_factory=list)
    _cold: bool = True

    def open(self, query: str) -> None:
        """Make the sinks of the query of an id, once for all versions; their errors come here.

        OlderCheckpoint where one holds a batch that the checkpoint does not know.
        """
        self.query = query
        self.sinks = self._sinks()
        if isinstance(letters := self.letters(), DeadLetterFolder):
            letters.clear_staging()
        for sink in self.sinks:
            if isinstance(sink, LakeSink | PostgresSink):
                where = self.places.output if isinstance(sink, LakeSink) else "PostgreSQL"
                refuse_older(Storage(self.spark), self.places.checkpoint, sink.newest(), where)

    def close(self) -> None:
        """Close what the sinks hold open."""
        for sink in self.sinks:
            if isinstance(sink, PostgresSink):
                sink.close()

    @property
    def source(self) -> SourceOptions:
        """The source by its options."""
        if not self.options.source_topic:
            most = self.options.max_files_per_trigger
            return FileOptions(folder=self.places.source, format=self.options.source_format, max_files=most)
        return TopicOptions(
            kafka=self.connections.kafka_options(),
            topics=self.options.source_topic,
            starting_offsets=self.options.starting_offsets,
            max_offsets=self.options.max_offsets,
            fail_on_data_loss=self.options.fail_on_data_loss,
        )

    def ready(self, version: ResolvedVersion) -> Served[DataFrame]:
        """Load and probe a version, and build its plan; raises where it must not serve."""
        model = load_version(self.spark, version)
        probe(self.spark, model, version, self.contract)
        explaining = ship(self.spark, load_explaining(version)) if self.options.reasons else None
        source = arrivals(self.spark, self.source, self.contract)
        plan = self._sent(version_plan(self.spark, source.schema, model, version, self.contract, explaining))
        self._warm_up(plan)
        return Served(version, plan(source))

    def _sent(self, scores: Plan) -> Plan:
        """What a query runs: scored events, in real-time mode as Kafka's rows."""
        if self.options.mode is Mode.MICRO_BATCH:
            return scores

        def counted(arriving: DataFrame) -> DataFrame:
            return observed(scores(arriving)).withColumn(EPOCH, planned())

        def rows(scored: DataFrame) -> DataFrame:
            return kafka_rows(scored, self.contract, self.options.topic, self.options.dead_letter_topic)

        sent = settled(self.spark, counted(no_events(self.spark)).schema, rows)
        return lambda arriving: sent(counted(arriving))

    def _warm_up(self, plan: Plan) -> None:
        """Plan and run what the query runs a few times, as events wait while Java compiles its planner at first.

        It is planned anew at the end of every epoch. In micro-batches nothing waits at the start; a version that takes
        over from another while events arrive is run once, so that its code is compiled beside the other's query.
        """
        rounds = WARM_ROUNDS[self.options.mode] if self._cold else WARM_ROUNDS_OF_RELOAD
        for _ in range(rounds):
            plan(no_events(self.spark)).write.format("noop").mode("overwrite").save()
        self._cold = False

    def start(self, served: Served[DataFrame], guard: Callable[[], None], report: Callable[[Batch], None]) -> Running:
        """Start the query of a version. `guard` and `report` are those of BatchWriter, for micro-batches."""
        if self.options.mode is Mode.REAL_TIME:
            epoch, client = self.options.milliseconds("epoch"), self.connections.kafka_options().client()
            return start_real_time(served.work, client, self.places.checkpoint, epoch)
        source, files = self.source, None
        if isinstance(source, FileOptions):
            files = FileAccount(self.spark, source, self.contract, self.places.checkpoint)
        letters = DeadLetterSink(self.letters(), self.query, files)
        writer = BatchWriter(self.sinks, report, guard=guard, dead_letters=letters)
        trigger = None if self.options.available_now else self.options.milliseconds("trigger")
        return start_micro_batches(served.work, writer, self.places.checkpoint, trigger)

    def letters(self) -> DeadLetters:
        """Where refused events go."""
        if self.options.dead_letter_topic:
            return DeadLetterTopic(self.connections.kafka_options(), self.options.dead_letter_topic)
        return DeadLetterFolder(Storage(self.spark), self.dead_letters, self.query)

    def _sinks(self) -> list[Sink]:
        if self.options.mode is Mode.REAL_TIME:
            return []
        made: dict[SinkName, Callable[[], Sink]] = {
            SinkName.PARQUET: self._lake,
            SinkName.KAFKA: lambda: KafkaSink(self.connections.kafka_options(), self.options.topic, self.contract),
            SinkName.POSTGRES: self._postgres,
            SinkName.WEBHOOK: lambda: WebhookSink(
                self.connections.webhook_options(self.options.hot),
                self.letters(),
                self.query,
                self.stop,
                self.undelivered,
            ),
            SinkName.CONSOLE: lambda: ConsoleSink(self.console),
        }
        return [made[name]() for name in self.options.sinks]

    def _lake(self) -> Sink:
        lake = LakeSink(Storage(self.spark), self.places.output, self.query)
        lake.clear_staging()
        return lake

    def _postgres(self) -> Sink:
        options = self.connections.postgres_options(self.options.hot)
        postgres = PostgresSink(options, self.contract, self.query, self.stop)
        postgres.prepare()
        return postgres


def places_of(spark: SparkSession, settings: Settings, options: StreamOptions) -> Places:
    """Where a stream reads and writes. Each set of sinks has a default checkpoint of its own."""
    stored = SinkName.PARQUET in options.sinks
    kinds = [] if stored else list(options.sinks)
    real_time = [Mode.REAL_TIME.value] if options.mode is Mode.REAL_TIME else []
    checkpoint = join(settings.data, "checkpoints", "-".join(["stream", *(real_time or kinds)]))
    output = options.output or join(settings.data, "scores", "stream")
    topic = options.source_topic
    return Places(
        source=f"{TOPIC}{topic}" if topic else absolute(spark, options.source or settings.stream),
        output=absolute(spark, output) if stored else "",
        checkpoint=absolute(spark, options.checkpoint or checkpoint),
    )


def dead_letter_folder(spark: SparkSession, settings: Settings, options: StreamOptions) -> str:
    """The folder of refused events; empty where they go to a topic."""
    if options.dead_letter_topic:
        return ""
    return absolute(spark, options.dead_letters or settings.dead_letters)


def session_settings(settings: Settings, options: StreamOptions) -> tuple[Settings, bool]:
    """What the session of a stream needs: settings, with task slots enough for real-time mode, and Kafka or not."""
    if options.mode is Mode.REAL_TIME and not settings.master:
        settings = settings.model_copy(update={"master": f"local[{REAL_TIME_SLOTS}]"})
    return settings, uses_kafka(options)


def refuse_unfit_topics(spark: SparkSession, options: StreamOptions, connections: Connections, places: Places) -> None:
    """KafkaRefused where a topic that is read or written is not there, or Kafka refuses this client.

    A topic of refused events that is missing would end the query at the first of them, days after the start.
    UnfitOptions where `starting_offsets` are not those of the topics' partitions, and in real-time mode where a local
    session has too few task slots.
    """
    if not uses_kafka(options):
        return
    kafka = connections.kafka_options()
    partitions = {topic: partition_count(spark, kafka, topic) for topic in options.source_topics}
    begun = Storage(spark).list(join(places.checkpoint, "offsets"))
    for topic, offsets in () if begun else options.offsets.items():
        if offsets.keys() != set(range(partitions[topic])):
            raise UnfitOptions(
                f"starting_offsets must name each of the {partitions[topic]} partitions of {topic}, from 0 on, "
                "and no other."
            )
    if options.mode is Mode.REAL_TIME:
        _refuse_few_slots(spark, options.source_topic, sum(partitions.values()))
    for topic in filter(None, (options.topic, options.dead_letter_topic)):
        partition_count(spark, kafka, topic)


def _refuse_few_slots(spark: SparkSession, topics: str, partitions: int) -> None:
    """UnfitOptions where a local session has no task slot for every partition of the topics and one more.

    A task of real-time mode holds its slot for good; one more is for loading the next version beside it. What slots
    a cluster has is not known beforehand.
    """
    local = re.fullmatch(r"local(?:\[(\d+|\*)(?:,\d+)?\])?", spark.sparkContext.master or "")
    if local is None:
        return
    slots = (os.cpu_count() or 1) if local[1] == "*" else int(local[1] or 1)
    if slots < partitions + 1:
        raise UnfitOptions(
            f"{topics} has {partitions} partitions; real-time mode needs a task slot for each and one more, and "
            f"{spark.sparkContext.master} has {slots}. Set LEADS_MASTER=local[{partitions + 1}], or more."
        )


def ids_of_topics(spark: SparkSession, options: StreamOptions, connections: Connections) -> dict[str, str]:
    """Kafka's ids of the topics that are read, as a checkpoint remembers them."""
    return topic_ids(spark, connections.kafka_options(), options.source_topics) if options.source_topics else {}


def refuse_missing_folder(spark: SparkSession, places: Places, options: StreamOptions) -> None:
    """BadSource where the folder that files arrive in is not there."""
    if missing_folder(spark, places, options):
        raise BadSource(f"the source {places.source} is not a folder; name the folder that lead files arrive in.")


def missing_folder(spark: SparkSession, places: Places, options: StreamOptions) -> str:
    """What is wrong with the folder that files arrive in: it is not there; empty where it is, and for topics."""
    if options.source_topic or Storage(spark).is_folder(places.source):
        return ""
    return f"the source {places.source} is gone: no file arrives until it is there again"


def is_watched(places: Places) -> bool:
    """Whether the source is a folder that can go: on an object store an empty one is none, and nothing is wrong."""
    return places.source.startswith(("file:", "hdfs:"))
