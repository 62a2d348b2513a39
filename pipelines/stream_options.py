"""Parameters of the stream, and what each mode, source and sink asks of them: checked before anything starts."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.errors import ServingError
from serving.kafka import KafkaOptions, Mechanism, Protocol
from serving.postgres import PostgresOptions
from serving.queries import EPOCH_END_MS, SHORTEST_EPOCH_MS, Mode, parse_trigger
from serving.runtime.endpoints import HOST
from serving.runtime.journal import LogTo
from serving.sinks import UnknownSink
from serving.sources import FileFormat
from serving.webhook import WebhookOptions, token

TOPIC = "kafka:"
_TOPIC_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")


class UnfitOptions(ServingError):
    """Parameters of the stream do not go together."""


class SinkName(StrEnum):
    """Where scored leads may go; `parquet` is the lake."""

    PARQUET = "parquet"
    KAFKA = "kafka"
    POSTGRES = "postgres"
    WEBHOOK = "webhook"
    CONSOLE = "console"


class StreamOptions(BaseModel, frozen=True, extra="forbid"):
    """Parameters of the stream; empty places mean the defaults under the data folder."""

    source: str = Field("", description="folder that lead files arrive in, or kafka:TOPIC; empty: data/stream")
    source_format: FileFormat = Field(FileFormat.PARQUET, description="parquet, json or csv files")
    starting_offsets: str = Field("earliest", min_length=1, description="where a new query on Kafka begins")
    sink: str = Field("console,parquet", description="list of console, parquet, kafka, postgres, webhook")
    output: str = Field("", description="folder of the scores; empty: data/scores/stream")
    topic: str = Field("", description="Kafka topic of the scores")
    dead_letters: str = Field(
        "", description="folder, or kafka:TOPIC, of refused events; empty: data/dead-letters, or topic + -dead-letters"
    )
    checkpoint: str = Field("", description="folder of the query's progress; empty: data/checkpoints/stream...")
    mode: Mode = Field(Mode.MICRO_BATCH, description="micro-batch, or real-time (Kafka to Kafka)")
    trigger: str = Field("30 seconds", description="time between two micro-batches; with available_now there is none")
    epoch: str = Field("60 seconds", description="time between two checkpoints in real-time mode")
    available_now: bool = Field(False, description="score what is there now, then end")
    max_files_per_trigger: int = Field(1, ge=1, description="most files in a micro-batch")
    max_offsets_per_trigger: int = Field(100_000, ge=0, description="most Kafka events in a micro-batch; 0: no bound")
    fail_on_data_loss: bool = Field(True, description="end where Kafka has deleted events that were not read yet")
    hot: float = Field(70, ge=0, le=100, description="smallest score that goes to postgres and webhook")
    reasons: bool = Field(False, description="tell why each lead has its score; micro-batch mode alone")
    version: str = Field("Production", min_length=1, description="alias (watched) or number of the model version")
    poll: str = Field("5 seconds", description="time between two looks at the alias")
    registry_wait: str = Field(
        "5 minutes", description="longest wait at the start for a registry, artifact store or Kafka"
    )
    drain: str = Field("75 seconds", description="longest wait for the end of a batch or epoch when stopped")
    stuck_after: str = Field("10 minutes", description="a batch or epoch that takes longer makes /readyz say no")
    log: LogTo = Field(LogTo.STDOUT, description="where the JSON line of every batch goes: stdout, stderr or off")
    health_port: int = Field(0, ge=0, le=65535, description="port of /healthz, /readyz, /metrics; 0: none")
    health_host: str = Field(HOST, min_length=1, description="address that these listen on")

    @property
    def sinks(self) -> tuple[SinkName, ...]:
        """The sinks, in the order of writing: what is shown has been stored. UnknownSink names those that exist."""
        names = [word.strip().lower() for word in self.sink.split(",") if word.strip()]
        wrong = [name for name in names if name not in list(SinkName)]
        if wrong or not names:
            raise UnknownSink(
                f"sink {self.sink!r} names {', '.join(wrong) or 'nothing'}; give a comma-separated list of "
                f"{', '.join(SinkName)}, such as sink=console,parquet."
            )
        return tuple(name for name in SinkName if name in names)

    @property
    def source_topic(self) -> str:
        """The Kafka topic that is read; empty for files."""
        return self.source.removeprefix(TOPIC) if self.source.startswith(TOPIC) else ""

    @property
    def source_topics(self) -> list[str]:
        """The same one by one, where it is a list."""
        return [topic for topic in map(str.strip, self.source_topic.split(",")) if topic]

    @property
    def offsets(self) -> dict[str, dict[int, int]]:
        """Where `starting_offsets` names them by topic and partition; empty for a word, and for what is neither."""
        try:
            found = json.loads(self.starting_offsets)
            return {topic: {int(p): int(offset) for p, offset in places.items()} for topic, places in found.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    @property
    def dead_letter_topic(self) -> str:
        """The Kafka topic of refused events: the one named; in real-time mode, else, one named after `topic`."""
        if self.dead_letters.startswith(TOPIC):
            return self.dead_letters.removeprefix(TOPIC)
        return f"{self.topic}-dead-letters" if self.mode is Mode.REAL_TIME and not self.dead_letters else ""

    @property
    def max_offsets(self) -> int | None:
        """Most Kafka events in a micro-batch; None: no bound, as for an epoch of real-time mode."""
        return self.max_offsets_per_trigger or None if self.mode is Mode.MICRO_BATCH else None

    def gives(self, name: str) -> bool:
        """Whether a parameter differs from its default, as only what somebody gave can."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    def milliseconds(self, name: str) -> int:
        """A parameter that is a length of time; BadTrigger names it where it is none."""
        return parse_trigger(getattr(self, name), name)

    def seconds(self, name: str) -> float:
        """A parameter that is a length of time; BadTrigger names it where it is none."""
        return self.milliseconds(name) / 1000


class Connections(BaseSettings):
    """How services are reached, from the environment (LEADS_KAFKA, LEADS_POSTGRES_DSN, ...); no secret among them."""

    model_config = SettingsConfigDict(env_prefix="LEADS_", frozen=True)

    kafka: str = Field("", description="Kafka's bootstrap servers: host:port,host:port")
    kafka_protocol: Protocol = Field(Protocol.PLAINTEXT, description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    kafka_mechanism: Mechanism = Field(Mechanism.SCRAM_SHA_512, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    kafka_truststore: str = Field("", description="file of the CA's certificates: .pem, .jks or .p12")
    kafka_truststore_secured: bool = Field(False, description="its password is in KAFKA_TRUSTSTORE_PASSWORD")
    kafka_keystore: str = Field("", description="file of the client's certificate and key: .pem, .jks or .p12")
    kafka_keystore_secured: bool = Field(True, description="its, or its key's, password is in KAFKA_KEYSTORE_PASSWORD")
    postgres_dsn: str = Field("", description="postgresql://user@host:port/database?sslmode=..., no password")
    webhook_url: str = Field("", description="address that hot leads are posted to")

    def kafka_options(self) -> KafkaOptions:
        """The Kafka cluster; UnfitOptions where it is not named, UnfitLogin where the login is of no use."""
        if not self.kafka:
            raise UnfitOptions("Kafka is read or written, but LEADS_KAFKA does not name it; set it to host:port.")
        with _naming("LEADS_KAFKA or LEADS_KAFKA_*"):
            options = KafkaOptions(
                bootstrap_servers=self.kafka,
                security_protocol=self.kafka_protocol,
                sasl_mechanism=self.kafka_mechanism,
                truststore=self.kafka_truststore,
                truststore_secured=self.kafka_truststore_secured,
                keystore=self.kafka_keystore,
                keystore_secured=self.kafka_keystore_secured,
            )
        options.check_login(os.environ)
        return options

    def postgres_options(self, hot: float) -> PostgresOptions:
        """The database; UnfitOptions where it is not named."""
        if not self.postgres_dsn:
            raise UnfitOptions(
                "the sink postgres needs LEADS_POSTGRES_DSN, such as postgresql://user@host:5432/database; the "
                "password goes into PGPASSWORD or a PGPASSFILE."
            )
        with _naming("LEADS_POSTGRES_DSN"):
            return PostgresOptions(dsn=self.postgres_dsn, hot=hot)

    def webhook_options(self, hot: float) -> WebhookOptions:
        """Where hot leads are posted; UnfitOptions where it is not named, UnfitToken where the token is of no use."""
        if not self.webhook_url:
            raise UnfitOptions("the sink webhook needs LEADS_WEBHOOK_URL, the address that hot leads are posted to.")
        token(os.environ)
        with _naming("LEADS_WEBHOOK_URL"):
            return WebhookOptions(url=self.webhook_url, hot=hot)


@contextmanager
def _naming(variable: str) -> Iterator[None]:
    """Tell what is wrong with an address by the variable that it came from."""
    try:
        yield
    except ValidationError as error:
        raise UnfitOptions(f"{variable}: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None


def check(options: StreamOptions, connections: Connections) -> None:
    """Refuse parameters that are no lengths of time, name unknown sinks, or do not go together.

    BadTrigger, UnknownSink or UnfitOptions; nothing has been started then.
    """
    for name in ("trigger", "epoch", "poll", "registry_wait", "drain", "stuck_after"):
        options.milliseconds(name)
    refusals = _real_time(options) if options.mode is Mode.REAL_TIME else []
    refusals += _passed_over(options) + _topics(options)
    refusals += [] if options.milliseconds("poll") else ["poll must be longer than nothing"]
    if refusals:
        raise UnfitOptions(f"these parameters do not go together: {'; '.join(refusals)}.")
    if uses_kafka(options):
        connections.kafka_options()
    if SinkName.POSTGRES in options.sinks:
        connections.postgres_options(options.hot)
    if SinkName.WEBHOOK in options.sinks:
        connections.webhook_options(options.hot)


def uses_kafka(options: StreamOptions) -> bool:
    """Whether the session needs Spark's Kafka connector."""
    return bool(options.source_topic or options.dead_letter_topic) or SinkName.KAFKA in options.sinks


def _real_time(options: StreamOptions) -> list[str]:
    wanted = {
        "mode=real-time reads Kafka alone: source=kafka:TOPIC": bool(options.source_topic),
        "mode=real-time writes Kafka alone: sink=kafka": options.sinks == (SinkName.KAFKA,),
        "mode=real-time sends refused events to a topic: dead_letters=kafka:TOPIC": bool(options.dead_letter_topic),
        "mode=real-time never ends by itself: available_now=false": not options.available_now,
        "max_offsets_per_trigger has no meaning with mode=real-time": not options.gives("max_offsets_per_trigger"),
        "mode=real-time runs no Python, which reasons need: reasons=false, or mode=micro-batch": not options.reasons,
        f"epoch must be at least {SHORTEST_EPOCH_MS // 1000} seconds": options.milliseconds("epoch")
        >= SHORTEST_EPOCH_MS,
        f"epoch must be {EPOCH_END_MS // 1000} seconds shorter than drain, for its planning and commit: a stop would "
        "cut it off, and all of it would be sent again": (
            options.milliseconds("epoch") + EPOCH_END_MS <= options.milliseconds("drain")
        ),
    }
    return [words for words, holds in wanted.items() if not holds]


def _passed_over(options: StreamOptions) -> list[str]:
    """Parameters of a mode, source or sink that is not there: whoever gave one believes that it does something."""
    sinks, of_kafka = set(options.sinks), bool(options.source_topic)
    places = {
        "epoch": ("mode=real-time", options.mode is Mode.REAL_TIME),
        "trigger": ("mode=micro-batch", options.mode is Mode.MICRO_BATCH),
        "max_offsets_per_trigger": ("source=kafka:TOPIC", of_kafka),
        "starting_offsets": ("source=kafka:TOPIC", of_kafka),
        "fail_on_data_loss": ("source=kafka:TOPIC", of_kafka),
        "source_format": ("a source of files", not of_kafka),
        "max_files_per_trigger": ("a source of files", not of_kafka),
        "output": ("sink=parquet", SinkName.PARQUET in sinks),
        "topic": ("sink=kafka", SinkName.KAFKA in sinks),
        "health_host": ("health_port=PORT", options.health_port > 0),
        "stuck_after": ("health_port=PORT", options.health_port > 0),
        "hot": ("sink=postgres and sink=webhook", bool(sinks & {SinkName.POSTGRES, SinkName.WEBHOOK})),
    }
    return [f"{name} is for {place}" for name, (place, there) in places.items() if options.gives(name) and not there]


def _topics(options: StreamOptions) -> list[str]:
    named = [*options.source_topics, *filter(None, (options.topic, options.dead_letter_topic))]
    unfit = [topic for topic in named if not _TOPIC_NAME.fullmatch(topic)]
    wanted = {
        "source=kafka: names no topic": bool(options.source_topics) or not options.source.startswith(TOPIC),
        "dead_letters=kafka: names no topic": options.dead_letters != TOPIC,
        "starting_offsets must be earliest, latest, or Spark's JSON of offsets by topic and partition": (
            options.starting_offsets in ("earliest", "latest") or bool(options.offsets)
        ),
        "starting_offsets must name each topic of the source, and no other": (
            not options.offsets or options.offsets.keys() == set(options.source_topics)
        ),
        "the name of a Kafka topic has 1 to 249 letters (a to z), digits, dots, underscores and hyphens, which "
        f"{next(iter(unfit), '')!r} has not": not unfit,
        "sink=kafka needs topic=TOPIC": bool(options.topic) or SinkName.KAFKA not in options.sinks,
        "source, topic and dead_letters must be different topics": len(named) == len(set(named)),
    }
    return [words for words, holds in wanted.items() if not holds]
