"""What a Kafka cluster tells of its topics before a stream begins."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from features.storage import java_class
from serving.errors import Away
from serving.kafka import KafkaOptions, KafkaRefused, refusal

_ANSWER_SECONDS = 20
_REACHED_SECONDS = 5
_UNITS = "java.util.concurrent.TimeUnit"
_NONE = "A" * 22  # Kafka's word for no id


def reach(spark: SparkSession, kafka: KafkaOptions) -> None:
    """Away where no broker answers within 5 s, KafkaRefused where Kafka refuses this client.

    Whatever else asks Kafka first would wait for minutes, without a word.
    """
    try:
        with _admin(spark, kafka) as admin:
            admin.describeCluster().nodes().get(_REACHED_SECONDS, java_class(spark, _UNITS).SECONDS)
    except Py4JError as error:
        if (refused := refusal(str(error))) is not None:
            raise refused from None
        raise Away("no broker answers") from None


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


def topic_ids(spark: SparkSession, kafka: KafkaOptions, topics: Iterable[str]) -> dict[str, str]:
    """Kafka's own ids of topics: one that is made anew, or lies on another cluster, has another under the same name.

    Without those that Kafka does not tell: brokers before 2.8 have none.
    """
    try:
        with _admin(spark, kafka) as admin:
            asked = admin.describeTopics(list(topics)).allTopicNames()
            told = asked.get(_ANSWER_SECONDS, java_class(spark, _UNITS).SECONDS)
            found = {str(name): str(told.get(name).topicId()) for name in told}
            return {name: told_id for name, told_id in found.items() if told_id != _NONE}
    except Py4JError:
        return {}


@contextmanager
def _admin(spark: SparkSession, kafka: KafkaOptions) -> Iterator[Any]:
    """Kafka's own client for asking after a cluster."""
    client = {name.removeprefix("kafka."): value for name, value in kafka.client().items()}
    admin: Any = java_class(spark, "org.apache.kafka.clients.admin.Admin").create(client)
    try:
        yield admin
    finally:
        admin.close(java_class(spark, "java.time.Duration").ZERO)  # else it waits for what is asked
