"""Kafka records of a time that Spark cannot hold: events like any other, and no end of a query."""

import json
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from serving.events import events
from serving.far_records import with_far_records
from serving.kafka import KafkaOptions, refusal
from serving.sources import TopicOptions, arrivals
from tests.leads import small_contract

ANY_TIME = {"message__timestamp__after__max__ms": str(2**63 - 1)}
LATEST_MS = (2**63 - 1) // 1000
NANOSECONDS = 1_800_000_000_000_000_000


def of_times(spark: SparkSession, kafka, topic: str, *times: int) -> dict[int, str]:
    """The event times, as text, that records of these times get in a stream, by their offsets."""
    kafka.create_topic(topic, **ANY_TIME)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number, time in enumerate(times):
        producer.produce(topic, json.dumps({"LeadId": f"lead-{number}", "Visits": 1}).encode(), timestamp=time)
    assert producer.flush(60) == 0
    source = TopicOptions(kafka=KafkaOptions(bootstrap_servers=kafka.bootstrap), topics=topic)
    read = events(arrivals(spark, source, small_contract()), small_contract())
    told = read.selectExpr("position", "cast(event_time as string) as told", "reason")
    name = topic.replace("-", "_")
    query = told.writeStream.format("memory").queryName(name).trigger(availableNow=True).start()
    query.awaitTermination()
    rows = spark.table(name).collect()
    assert [row.reason for row in rows] == [None] * len(times)
    return {row.position: row.told for row in rows}


@pytest.mark.parametrize("time", [LATEST_MS, LATEST_MS + 1, NANOSECONDS, 2**63 - 1])
def test_a_record_of_any_time_is_an_event_of_the_day_it_is_read(spark, kafka, time):
    now = datetime.now(UTC)
    told = of_times(spark, kafka, f"far-{time}", int(1000 * now.timestamp()), time, int(1000 * now.timestamp()))
    assert sorted(told) == [0, 1, 2]
    assert told[1].startswith(f"{now:%Y-%m-%d} 00:00:00")
    assert told[0] == told[2] != told[1]


def test_a_stream_of_another_source_is_left_as_it_is(spark):
    rates = spark.readStream.format("rate").load()
    assert with_far_records(rates.select("value")).columns == ["value"]


def test_what_kafka_refuses_while_a_query_runs_is_told_as_without_the_stand_ins(spark, kafka):
    kafka.create_topic("going")
    source = TopicOptions(kafka=KafkaOptions(bootstrap_servers=kafka.bootstrap), topics="going")
    told = arrivals(spark, source, small_contract()).select("value")
    query = told.writeStream.format("noop").trigger(processingTime="100 milliseconds").start()
    query.processAllAvailable()
    admin = AdminClient(kafka.client)
    admin.delete_topics(["going"])["going"].result(60)
    with pytest.raises(StreamingQueryException) as ended:
        query.awaitTermination(120)
    assert refusal(str(ended.value)) is not None
