"""Scored events to Kafka, at least once: JSON values keyed by lead, with headers by which readers drop repeats."""

from dataclasses import dataclass
from typing import ClassVar

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Contract
from serving.dead_letters import letter_json, letter_of
from serving.kafka import KafkaOptions


@dataclass(frozen=True)
class KafkaSink:
    """Sends the scored rows of a micro-batch to a topic. A repeated batch is sent again, under the same event ids."""

    kafka: KafkaOptions
    topic: str
    contract: Contract
    observes: ClassVar[bool] = False  # waiting for an observation of Spark's Kafka writer would never end

    def write(self, batch: DataFrame, number: int) -> None:
        """Send the scored rows of batch `number`."""
        rows = kafka_rows(batch.where("reason is null"), self.contract, self.topic, epoch=F.lit(number))
        rows.write.format("kafka").options(**self.kafka.client()).save()


def kafka_rows(
    scored: DataFrame, contract: Contract, topic: str, dead_topic: str = "", epoch: Column | None = None
) -> DataFrame:
    """Scored events as `topic`, `key` (the lead's id), `value` (JSON without nulls) and `headers`.

    Headers: `event_id`, `model_version` and `epoch`: by default the milliseconds since 1970 at which the micro-batch
    or the real-time epoch was planned. With `dead_topic` refused events go there, as dead letters keyed by event
    id; without it they must have been taken out before.
    """
    planned = _planned() if epoch is None else epoch
    value = F.to_json(F.struct(*(c for c in scored.columns if c not in ("batch_date", "position", "reason", "raw"))))
    place, key = F.lit(topic), F.col(contract.id.name)
    if dead_topic:
        refused = F.col("reason").isNotNull()
        value = F.when(refused, letter_json(letter_of(scored))).otherwise(value)
        place = F.when(refused, F.lit(dead_topic)).otherwise(place)
        key = F.when(refused, F.col("event_id")).otherwise(key)
    headers = {"event_id": F.col("event_id"), "model_version": F.col("model_version"), "epoch": planned}
    return scored.select(
        place.alias("topic"),
        key.cast("binary").alias("key"),
        value.cast("binary").alias("value"),
        F.array(
            *(
                F.struct(F.lit(n).alias("key"), v.cast("string").cast("binary").alias("value"))
                for n, v in headers.items()
            )
        ).alias("headers"),
    )


def _planned() -> Column:
    """Milliseconds since 1970 at which an epoch was planned, as text.

    Called by reflection, as Spark writes any other constant of an epoch into its generated code and compiles that anew
    for each, while events wait.
    """
    return F.reflect(F.lit("java.lang.String"), F.lit("valueOf"), F.unix_millis(F.current_timestamp()))
