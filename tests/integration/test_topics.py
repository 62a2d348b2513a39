"""What Kafka tells of topics before a stream begins, and what a stream makes of it."""

import pytest
from confluent_kafka.admin import AdminClient

from pipelines.stream_options import Connections, StreamOptions, UnfitOptions
from pipelines.stream_plan import refuse_unfit_topics
from serving.errors import Away
from serving.kafka import KafkaOptions
from serving.ownership import Places
from serving.topics import reach, topic_ids
from tests.service_process import free_ports


def test_a_topic_that_is_made_anew_has_another_id(spark, kafka):
    cluster, name = KafkaOptions(bootstrap_servers=kafka.bootstrap), "made-anew"
    kafka.create_topic(name)
    before = topic_ids(spark, cluster, [name])
    assert topic_ids(spark, cluster, [name]) == before != {}
    admin = AdminClient(kafka.client)
    admin.delete_topics([name])[name].result(60)
    kafka.create_topic(name)
    assert topic_ids(spark, cluster, [name])[name] != before[name]


def test_nothing_is_told_of_a_topic_that_kafka_does_not_describe(spark, kafka):
    assert topic_ids(spark, KafkaOptions(bootstrap_servers=kafka.bootstrap), ["none-such"]) == {}


def test_a_broker_that_answers_is_reached(spark, kafka):
    assert reach(spark, KafkaOptions(bootstrap_servers=kafka.bootstrap)) is None  # it raises


def test_a_broker_that_is_not_there_is_away(spark):
    (port,) = free_ports(1)
    with pytest.raises(Away, match="no broker answers"):
        reach(spark, KafkaOptions(bootstrap_servers=f"127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("offsets", "is_begun", "is_refused"),
    [
        ('{"two": {"0": 5, "1": -2}}', False, False),
        ('{"two": {"0": 5}}', False, True),
        ('{"two": {"0": 5, "1": 5, "2": 5}}', False, True),
        ('{"two": {"0": 5}}', True, False),  # Spark looks at the checkpoint alone, and partitions may have been added
    ],
)
def test_offsets_to_begin_at_name_every_partition(spark, kafka, tmp_path, offsets, is_begun, is_refused):
    if not topic_ids(spark, KafkaOptions(bootstrap_servers=kafka.bootstrap), ["two"]):
        kafka.create_topic("two", 2)
    if is_begun:
        (tmp_path / "checkpoint" / "offsets").mkdir(parents=True)
        (tmp_path / "checkpoint" / "offsets" / "0").touch()
    places = Places("kafka:two", "", f"file:{tmp_path}/checkpoint")
    options = StreamOptions(source="kafka:two", starting_offsets=offsets)
    connections = Connections(kafka=kafka.bootstrap)
    if is_refused:
        with pytest.raises(UnfitOptions, match="each of the 2 partitions of two"):
            refuse_unfit_topics(spark, options, connections, places)
    else:
        assert refuse_unfit_topics(spark, options, connections, places) is None
