"""What a Kafka cluster tells of its topics before a stream begins."""

from pyspark.sql import SparkSession

from serving.kafka import KafkaOptions, KafkaRefused, refusal


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
