"""What Kafka tells of topics before a stream begins."""

import pytest

from serving.kafka import KafkaOptions
from serving.topics import unguarded

ANY = {"message__timestamp__after__max__ms": str(2**63 - 1)}


@pytest.mark.parametrize(
    ("name", "settings", "takes_any"),
    [
        ("as-the-broker", {}, False),
        ("any-time", ANY, True),
        ("stamped-by-kafka", {**ANY, "message__timestamp__type": "LogAppendTime"}, False),
    ],
)
def test_a_topic_whose_records_may_be_of_any_time_is_told(spark, kafka, name, settings, takes_any):
    kafka.create_topic(name, **settings)
    assert unguarded(spark, KafkaOptions(bootstrap_servers=kafka.bootstrap), [name]) == [name] * takes_any


def test_nothing_is_told_of_a_topic_that_kafka_does_not_describe(spark, kafka):
    assert unguarded(spark, KafkaOptions(bootstrap_servers=kafka.bootstrap), ["none-such"]) == []
