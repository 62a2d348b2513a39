"""benchmarks/kafka_load.py on a real broker: what a load sends, and the scores that are read back."""

import json

import pytest
from confluent_kafka import Producer

from benchmarks.answers import WrongAnswers, check_scores
from benchmarks.kafka_load import probabilities, probe, relay


@pytest.fixture
def topic(kafka, request):
    kafka.create_topic(request.node.name)
    return request.node.name


def test_a_relay_loses_no_event_of_a_load(kafka, topic):
    kafka.create_topic(f"{topic}-copies")
    with (
        probe(kafka.bootstrap, topic, f"{topic}-copies") as load,
        relay(kafka.bootstrap, topic, f"{topic}-copies"),
    ):
        found = load.load(['{"event_id": "ID"}'], 100, 1, "load")
    assert (found.sent, found.received, found.lost, found.doubled) == (100, 100, 0, 0)


def test_scores_of_one_load_are_read_by_their_events_numbers(kafka, topic):
    producer = Producer(kafka.client)
    for name, probability in (("warm-0", 0.1), ("real-time-0", 0.25), ("real-time-1", 0.5)):
        producer.produce(topic, json.dumps({"probability": probability}), "lead", headers={"event_id": name})
    producer.flush()
    found = probabilities(kafka.bootstrap, topic, "real-time")
    assert found == {0: 0.25, 1: 0.5}
    with pytest.raises(WrongAnswers, match="real-time"):
        check_scores("real-time", list(found.values()), [0.25, 0.25])
