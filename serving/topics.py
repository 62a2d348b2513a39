"""What a Kafka cluster tells of its topics before a stream begins."""

from collections.abc import Iterable

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from features.storage import java_class
from serving.kafka import KafkaOptions, KafkaRefused, refusal

_ANSWER_SECONDS = 20
_NONE = "A" * 22  # Kafka's word for no id


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
    client = {name.removeprefix("kafka."): value for name, value in kafka.client().items()}
    seconds = java_class(spark, "java.util.concurrent.TimeUnit").SECONDS
    try:
        admin = java_class(spark, "org.apache.kafka.clients.admin.Admin").create(client)
        try:
            told = admin.describeTopics(list(topics)).allTopicNames().get(_ANSWER_SECONDS, seconds)
            found = {str(name): str(told.get(name).topicId()) for name in told}
            return {name: told_id for name, told_id in found.items() if told_id != _NONE}
        finally:
            admin.close()
    except Py4JError:
        return {}
