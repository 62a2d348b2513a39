"""What a Kafka cluster tells of its topics before a stream begins."""

from collections.abc import Iterable
from typing import Any

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from features.storage import java_class
from serving.kafka import KafkaOptions, KafkaRefused, refusal

_LATEST_MS = (2**63 - 1) // 1000  # Spark holds microseconds
_ANSWER_SECONDS = 20
_STAMP = "message.timestamp.type"
_AFTER, _DIFFERENCE = "message.timestamp.after.max.ms", "message.timestamp.difference.max.ms"


def partition_count(spark: SparkSession, kafka: KafkaOptions, topic: str) -> int:
    """How many partitions a topic has; KafkaRefused where there is no such topic, or Kafka refuses this client."""
    try:
        options = {"subscribe": topic, **kafka.client()}
        return int(spark.read.format("kafka").options(**options).load().rdd.getNumPartitions())
    except Exception as error:
        if "UnknownTopicOrPartitionException" in str(error):
            raise KafkaRefused(f"Kafka has no topic {topic}; make it, or name another.") from None
        if (refused := refusal(str(error))) is not None:
            raise refused from None
        raise


def unguarded(spark: SparkSession, kafka: KafkaOptions, topics: Iterable[str]) -> list[str]:
    """Those of the topics whose brokers take a record of any time, one of which would end a query (FarRecord).

    None where Kafka does not tell this client.
    """
    client = {name.removeprefix("kafka."): value for name, value in kafka.client().items()}
    try:
        admin = java_class(spark, "org.apache.kafka.clients.admin.Admin").create(client)
        try:
            return [topic for topic, said in _settings(spark, admin, topics).items() if _takes_any_time(said)]
        finally:
            admin.close()
    except Py4JError:
        return []


def _settings(spark: SparkSession, admin: Any, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    """What settings of topics, their own or the broker's, say of the time of records; asked for all at once."""
    kind = java_class(spark, "org.apache.kafka.common.config.ConfigResource$Type").TOPIC
    resource = java_class(spark, "org.apache.kafka.common.config.ConfigResource")
    seconds = java_class(spark, "java.util.concurrent.TimeUnit").SECONDS
    asked = {topic: resource(kind, topic) for topic in topics}
    told = admin.describeConfigs(list(asked.values())).all().get(_ANSWER_SECONDS, seconds)
    return {topic: _times(told.get(one)) for topic, one in asked.items()}


def _times(config: Any) -> dict[str, str]:
    found = {name: config.get(name) for name in (_STAMP, _AFTER, _DIFFERENCE)}
    return {name: str(entry.value()) for name, entry in found.items() if entry is not None}


def _takes_any_time(settings: dict[str, str]) -> bool:
    # Brokers before 3.6 know one bound alone, for both directions.
    bound = settings.get(_AFTER) or settings.get(_DIFFERENCE) or _LATEST_MS
    return settings.get(_STAMP) == "CreateTime" and int(bound) >= _LATEST_MS
