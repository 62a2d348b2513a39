"""How a Kafka cluster is reached: addresses, TLS and SASL, with every secret left where it is."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from serving.errors import ServingError

USER_VARIABLE, PASSWORD_VARIABLE = "KAFKA_USERNAME", "KAFKA_PASSWORD"
TRUSTSTORE_VARIABLE, KEYSTORE_VARIABLE = "KAFKA_TRUSTSTORE_PASSWORD", "KAFKA_KEYSTORE_PASSWORD"
_PROVIDERS = {
    "config.providers": "env",
    "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
}


class Protocol(StrEnum):
    """How a connection is secured."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class Mechanism(StrEnum):
    """How a client shows who it is."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


# What Kafka's client says where another try would be answered in the same way, and what to look at.
_REFUSALS = {
    "SaslAuthenticationException": f"user and password ({USER_VARIABLE}, {PASSWORD_VARIABLE}) were refused",
    "SslAuthenticationException": "TLS failed: see LEADS_KAFKA_PROTOCOL, the CA's certificates "
    "(LEADS_KAFKA_TRUSTSTORE) and, where the cluster asks for one, the client's own (LEADS_KAFKA_KEYSTORE)",
    "TopicAuthorizationException": "the user may not read or write the topic",
    "GroupAuthorizationException": "the user may not read as the consumer group (spark-kafka-source-*)",
    "UnknownTopicOrPartitionException": "there is no topic of that name; make it, or name another",
    "not present in metadata": "a topic that is written is gone, or no broker answered for a minute",
    "Timed out waiting for a node assignment": "no broker answered for some minutes (LEADS_KAFKA)",
    "InvalidTopicException": "a topic cannot have that name; name another",
    "Failed to create new KafkaAdminClient": "the address (LEADS_KAFKA), a file of certificates "
    "(LEADS_KAFKA_TRUSTSTORE, LEADS_KAFKA_KEYSTORE) or its password "
    f"({TRUSTSTORE_VARIABLE}, {KEYSTORE_VARIABLE}) is of no use",
}
# Sources that Spark writes by its first interface, where no observation of what is written is ever reported.
_FIRST_INTERFACE = "spark.sql.sources.useV1SourceList"
_GONE = "not available in Kafka any more"
_FAR = re.compile(r"Record at topic (\S+) partition (\d+) offset (\d+) has timestamp value (\d+)")
# Kafka's client reads user and password between quotes, with escapes.
# As Kafka's client reads an address.
_ADDRESS = re.compile(r"(?:[\w.%-]*://)?(?:\[[\w.%:]+\]|[\w.%-]+):\d{1,5}")
_UNQUOTABLE = re.compile(r'["\\\r\n]')


class KafkaRefused(ServingError):
    """The Kafka cluster was reached and does not let this client in."""


class UnfitLogin(ServingError):
    """User or password for Kafka are missing, or cannot be handed to its client."""


class FarRecord(ServingError):
    """A record's time is beyond what Spark can hold, which ends every query that reads it."""


class EventsGone(ServingError):
    """Kafka has deleted events that a query has not read."""


def refusal(said: str) -> ServingError | None:
    """What is wrong, where an error of a query says that Kafka refused it, or has not what it asks for.

    The error's own text may hold the plan.
    """
    if _GONE in said:
        return EventsGone(
            "Kafka has deleted events that were not scored yet: its retention is shorter than the stream was away. "
            "Nothing was committed. To go on with what is left, start once with fail_on_data_loss=false."
        )
    if far := _FAR.search(said):
        return FarRecord(
            f"Kafka: the record {far[1]}/{far[2]}/{far[3]} has the time {far[4]}, which is none in milliseconds; Spark "
            "can read nothing behind it. Go on with a new checkpoint and starting_offsets behind that record, and mend "
            "its producer, or let the topic stamp records itself (message.timestamp.type=LogAppendTime)."
        )
    found = next((told for name, told in _REFUSALS.items() if name in said), None)
    return KafkaRefused(f"Kafka: {found}. Mend that and start again: nothing is lost.") if found else None


class KafkaOptions(BaseModel, frozen=True, extra="forbid"):
    """A Kafka cluster. Secrets are named here and never held: Kafka's client reads them from the environment.

    User and password are read from KAFKA_USERNAME and KAFKA_PASSWORD, the keystore's password from
    KAFKA_KEYSTORE_PASSWORD and the truststore's from KAFKA_TRUSTSTORE_PASSWORD, on the driver and on executors.
    """

    bootstrap_servers: str = Field(min_length=1, description="comma-separated list of host:port")
    security_protocol: Protocol = Field(Protocol.PLAINTEXT, description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    sasl_mechanism: Mechanism = Field(Mechanism.SCRAM_SHA_512, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    truststore: str = Field("", description="file of the CA's certificates: .pem, .jks or .p12; empty: Java's own")
    truststore_secured: bool = Field(False, description="the truststore has a password: KAFKA_TRUSTSTORE_PASSWORD")
    keystore: str = Field("", description="the client's own certificate and key: .pem, .jks or .p12")
    keystore_secured: bool = Field(
        True, description="the keystore, or the key in a .pem, has a password: KAFKA_KEYSTORE_PASSWORD"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        if not all(_ADDRESS.fullmatch(word.strip()) for word in servers.split(",")):
            raise ValueError("it must be host:port, or a list of these with commas between them")
        return servers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.security_protocol.endswith("SSL") and (self.truststore or self.keystore):
            raise ValueError(f"truststore and keystore need TLS; security_protocol is {self.security_protocol}")
        if self.truststore_secured and _store_type(self.truststore) == "PEM":
            raise ValueError("a truststore of text (.pem) has no password: truststore_secured is for .jks and .p12")
        return self

    def check_login(self, environment: Mapping[str, str]) -> None:
        """UnfitLogin where a secret is not in the environment, or user or password cannot stand between quotes."""
        for _, _, variable in self._stores():
            if variable and not environment.get(variable):
                raise UnfitLogin(
                    f"A file of certificates for Kafka has a password, and {variable} is not set; set it, or "
                    f"LEADS_{variable.replace('PASSWORD', 'SECURED')}=false for a file without one."
                )
        if not self.security_protocol.startswith("SASL"):
            return
        for name in (USER_VARIABLE, PASSWORD_VARIABLE):
            if not environment.get(name):
                raise UnfitLogin(f"Kafka asks for a login ({self.security_protocol}), and {name} is not set; set it.")
            if _UNQUOTABLE.search(environment[name]):
                raise UnfitLogin(
                    f"{name} holds a double quote, a backslash or a line break, which Kafka's client would not take as "
                    "it stands; choose one without."
                )

    def client(self) -> dict[str, str]:
        """Options of Spark's Kafka source and sink. Secrets stand in them as references that Kafka resolves."""
        return {f"kafka.{name}": value for name, value in self._properties().items()}

    def reader(self) -> dict[str, str]:
        """Options of Spark's Kafka source: events of a transaction that was aborted are none."""
        return {**self.client(), "kafka.isolation.level": "read_committed"}

    def _properties(self) -> dict[str, str]:
        found = {"bootstrap.servers": self.bootstrap_servers, "security.protocol": str(self.security_protocol)}
        if self.security_protocol is Protocol.PLAINTEXT:
            return found
        found |= _PROVIDERS
        if self.security_protocol.startswith("SASL"):
            found |= {"sasl.mechanism": str(self.sasl_mechanism), "sasl.jaas.config": _jaas(self.sasl_mechanism)}
        for store, path, variable in self._stores():
            kind = _store_type(path)
            found |= {f"ssl.{store}.location": path, f"ssl.{store}.type": kind}
            if variable:
                # A file of text has no password of its own; the key in it may have one.
                found["ssl.key.password" if kind == "PEM" else f"ssl.{store}.password"] = f"${{env:{variable}}}"
        return found

    def _stores(self) -> list[tuple[str, str, str]]:
        """Kind, path and variable of the password, "" for none, of each file of certificates that there is."""
        found = [
            ("truststore", self.truststore, TRUSTSTORE_VARIABLE if self.truststore_secured else ""),
            ("keystore", self.keystore, KEYSTORE_VARIABLE if self.keystore_secured else ""),
        ]
        return [store for store in found if store[1]]


def send(rows: DataFrame, kafka: KafkaOptions, topic: str = "") -> None:
    """Send rows of Kafka's columns, to `topic` where they name none, in one action that reports observations of them.

    Sets what it needs for that in the session of `rows`.
    """
    conf = rows.sparkSession.conf
    others = [name for name in str(conf.get(_FIRST_INTERFACE)).split(",") if name.strip().lower() != "kafka"]
    conf.set(_FIRST_INTERFACE, ",".join(others))
    place = {"topic": topic} if topic else {}
    rows.write.format("kafka").options(**kafka.client(), **place).mode("append").save()


def header(name: str) -> Column:
    """The text of a record's last header of a name, from the column `headers`; null where there is none."""
    latest = F.reverse(F.col("headers"))
    place = F.array_position(latest["key"], F.lit(name))
    # Zero is none.
    return F.try_validate_utf8(F.try_element_at(latest["value"], F.nullif(place, F.lit(0)).cast("int")).cast("string"))


def _jaas(mechanism: Mechanism) -> str:
    module = "plain.PlainLoginModule" if mechanism is Mechanism.PLAIN else "scram.ScramLoginModule"
    user, password = f"${{env:{USER_VARIABLE}}}", f"${{env:{PASSWORD_VARIABLE}}}"
    return f'org.apache.kafka.common.security.{module} required username="{user}" password="{password}";'


def _store_type(path: str) -> str:
    kinds = {".pem": "PEM", ".jks": "JKS"}
    return next((kind for ending, kind in kinds.items() if path.lower().endswith(ending)), "PKCS12")
