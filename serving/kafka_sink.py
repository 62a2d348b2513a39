"""Scored events to Kafka, at least once: JSON values keyed by lead, with headers by which readers drop repeats."""

from dataclasses import dataclass
from typing import ClassVar

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Contract
from serving.dead_letters import REFUSED, letter_json, letter_of
from serving.kafka import KafkaOptions, send

EPOCH = "epoch"
NOT_SENT = (EPOCH, "batch_date", "position", "reason", "raw")


@dataclass(frozen=True)
class KafkaSink:
    """Sends the scored rows of a micro-batch to a topic. A repeated batch is sent again, under the same event ids."""

    kafka: KafkaOptions
    topic: str
    contract: Contract
    observes: ClassVar[bool] = True
    # Between two rows that are scored, one on its way to Kafka takes the forest's place in the processor's cache.
    cached: ClassVar[bool] = True

    def write(self, batch: DataFrame, number: int) -> None:
        """Send the scored rows of batch `number`."""
        rows = batch.where("reason is null").withColumn(EPOCH, F.lit(str(number)))
        send(kafka_rows(rows, self.contract, self.topic), self.kafka)


def kafka_rows(scored: DataFrame, contract: Contract, topic: str, dead_topic: str = "") -> DataFrame:
    """Scored events with an `epoch` (string) as `topic`, `key` (lead's id), `value` (JSON without nulls) and `headers`.

    Headers: `event_id`, `model_version` and `epoch`. With `dead_topic` refused events go there, as dead letters keyed
    by event id; without it they must have been taken out before.
    """
    value = F.to_json(F.struct(*(c for c in scored.columns if c not in NOT_SENT)))
    place, key = F.lit(topic), F.col(contract.id.name)
    if dead_topic:
        refused = F.col("reason").isNotNull()
        value = F.when(refused, letter_json({**letter_of(scored), "kind": F.lit(REFUSED)})).otherwise(value)
        place = F.when(refused, F.lit(dead_topic)).otherwise(place)
        key = F.when(refused, F.col("event_id")).otherwise(key)
    headers = ("event_id", "model_version", EPOCH)
    return scored.select(
        place.alias("topic"),
        key.cast("binary").alias("key"),
        value.cast("binary").alias("value"),
        F.array(
            *(F.struct(F.lit(n).alias("key"), F.col(n).cast("string").cast("binary").alias("value")) for n in headers)
        ).alias("headers"),
    )


def planned() -> Column:
    """The epoch of a stream without numbers: milliseconds since 1970 at which a batch or epoch was planned, as text.

    Called by reflection, as Spark writes any other constant of an epoch into its generated code and compiles that anew
    for each, while events wait.
    """
    return F.reflect(F.lit("java.lang.String"), F.lit("valueOf"), F.unix_millis(F.current_timestamp()))
