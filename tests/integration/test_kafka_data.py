"""Kafka as source and sink: ids, offsets and headers, dirt in a topic of its own, and redrive back into the source."""

import json
import time
import uuid
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, Message, Producer
from pyspark.sql import functions as F

from features.storage import Storage
from pipelines.redrive import RedriveOptions, run_redrive
from pipelines.settings import Settings
from serving.dead_letters import REFUSED, DeadLetterSink, DeadLetterTopic, dead_letter
from serving.events import events
from serving.kafka import KafkaOptions, header
from serving.kafka_sink import KafkaSink, kafka_rows
from serving.queries import BatchWriter
from serving.redrive import TopicTarget, redrive
from serving.registry import ResolvedVersion
from serving.scoring import scored_events
from serving.sources import TopicOptions, arrivals
from tests.leads import SMALL, small_contract
from tests.scored import scored_rows
from tests.served import small_model

GOOD = {"LeadId": "a", "Visits": 3, "City": "Pune"}
SCRIPT, STATEMENT = "<script>alert(1)</script>", "'); DROP TABLE leads;--"
SENT_AT = time.time_ns() // 1_000_000  # Kafka deletes what is older than a week
SENT = [
    (b"a", json.dumps(GOOD).encode(), []),
    (b"key-only", b'{"Visits": 2}', [("event_id", b"E-header"), ("event_time", b"2026-03-04T05:06:07Z")]),
    (b"far", b'{"Visits": 5000}', []),
    (None, b"nonsense", []),
    (None, b"\xff\xfe", []),
    (b"gone", None, []),
    (b"nasty-1", json.dumps({**GOOD, "LeadId": SCRIPT}).encode(), []),
    (b"nasty-2", json.dumps({**GOOD, "LeadId": STATEMENT}).encode(), []),
    (b"nasty-3", json.dumps({**GOOD, "LeadId": SCRIPT, "Visits": STATEMENT}).encode(), []),
]


@dataclass
class Topics:
    """What a test's topics hold, read by Kafka's own client."""

    bootstrap: str

    def read(self, topic: str, count: int) -> list[Message]:
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": f"g-{topic}-{count}", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([topic])
        try:
            return consumer.consume(count, 60)
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def topics(spark, kafka, tmp_path_factory) -> Topics:
    """One micro-batch of the events in SENT, scored to `scores`, the refused ones to `dead`."""
    for name in ("leads", "scores", "dead", "again"):
        kafka.create_topic(name)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for key, value, headers in SENT:
        producer.produce("leads", value, key, headers=headers, timestamp=SENT_AT)
    assert producer.flush(30) == 0
    cluster, contract = KafkaOptions(bootstrap_servers=kafka.bootstrap), small_contract()
    sinks = [
        KafkaSink(cluster, "scores", contract),
        DeadLetterSink(DeadLetterTopic(cluster, "dead"), "q"),
    ]
    source = arrivals(spark, TopicOptions(kafka=cluster, topics="leads", max_offsets=100), contract)
    plan = scored_events(events(source, contract), small_model(spark), ResolvedVersion("m", 7, "r", {}), contract)
    stream = plan.writeStream.foreachBatch(lambda batch, number: [sink.write(batch, number) for sink in sinks] and None)
    checkpoint = str(tmp_path_factory.mktemp("kafka-data") / "checkpoint")
    stream.option("checkpointLocation", checkpoint).trigger(availableNow=True).start().awaitTermination()
    return Topics(kafka.bootstrap)


@pytest.fixture(scope="module")
def scores(topics) -> dict[bytes, tuple[dict, dict]]:
    """Values and headers of the scores by key."""
    return {m.key(): (json.loads(m.value()), dict(m.headers())) for m in topics.read("scores", 4)}


@pytest.fixture(scope="module")
def dead(topics) -> dict[str, dict]:
    """Dead letters by origin."""
    return {letter["origin"]: letter for letter in (json.loads(m.value()) for m in topics.read("dead", 5))}


def test_scores_are_keyed_by_lead_and_carry_id_version_and_batch(scores):
    assert set(scores) == {b"a", b"key-only", SCRIPT.encode(), STATEMENT.encode()}
    assert scores[b"a"][1] == {"event_id": f"leads-0-0-{SENT_AT}".encode(), "model_version": b"7", "epoch": b"0"}
    value = scores[b"a"][0]
    assert (value["LeadId"], value["event_id"], value["model_version"]) == ("a", f"leads-0-0-{SENT_AT}", 7)
    assert 0 <= value["score"] <= 100


def test_headers_name_an_event_and_its_time(scores):
    value, headers = scores[b"key-only"]
    assert (headers["event_id"], value["event_time"]) == (b"E-header", "2026-03-04T05:06:07.000Z")


def test_dirt_is_told_by_topic_partition_and_offset(dead):
    reasons = {origin: letter["reason"].split(":")[0] for origin, letter in dead.items()}
    assert reasons == {
        "leads/0/2": "Visits is outside its limits -inf to 1000",
        "leads/0/3": "the event is not JSON",
        "leads/0/4": "the event is not UTF-8",
        "leads/0/5": "the event is empty",
        "leads/0/8": "Visits is not a number",
    }
    assert (dead["leads/0/3"]["raw"], dead["leads/0/3"]["event_id"]) == ("nonsense", f"leads-0-3-{SENT_AT}")


def test_words_that_mean_something_elsewhere_stay_words(scores, dead):
    assert {scores[name.encode()][0]["LeadId"] for name in (SCRIPT, STATEMENT)} == {SCRIPT, STATEMENT}
    assert json.loads(dead["leads/0/8"]["raw"]) == {**GOOD, "LeadId": SCRIPT, "Visits": STATEMENT}


def test_a_mended_dead_letter_goes_back_under_its_event_id(spark, kafka, topics, dead, tmp_path):
    mended = tmp_path / "mended.yaml"
    mended.write_text(SMALL.replace("max: 1000", "max: 9000"), encoding="utf-8")
    settings = Settings(data=str(tmp_path), contract_file=mended)
    # Letters of real-time mode name no kind.
    without_kind = {**dead["leads/0/3"], "event_id": "none", "raw": json.dumps(GOOD | {"LeadId": "b"})}
    del without_kind["kind"]
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce("dead", json.dumps({**without_kind, "kind": "undelivered", "event_id": "other"}).encode())
    assert producer.flush(30) == 0
    cluster = KafkaOptions(bootstrap_servers=kafka.bootstrap)
    options = RedriveOptions(source="kafka:dead", target="kafka:again", kafka=cluster)
    assert run_redrive(spark, settings, options).replayed == 1
    sent = topics.read("again", 1)[0]
    assert (sent.key(), json.loads(sent.value())) == (b"far", {"LeadId": "far", "Visits": 5000.0})
    assert dict(sent.headers())["event_id"] == f"leads-0-2-{SENT_AT}".encode()
    producer.produce("dead", json.dumps(without_kind).encode())
    assert producer.flush(30) == 0
    assert run_redrive(spark, settings, options).replayed == 1
    assert [m.key() for m in topics.read("again", 2)] == [b"far", b"b"]


@pytest.mark.parametrize("sent_before", [0, 1, 2])
def test_an_interrupted_redrive_to_a_topic_sends_only_what_the_topic_lacks(
    spark, kafka, tmp_path, monkeypatch, sent_before
):
    topic, contract = f"again-{sent_before}", small_contract()
    kafka.create_topic(topic)
    # The refused event stands in the topic itself, under its own id.
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"not yet good", b"0", headers=[("event_id", b"E-0")])
    assert producer.flush(60) == 0
    raw = [json.dumps({**GOOD, "LeadId": f"lead-{n}"}) for n in range(3)]
    refused = scored_rows(spark, *({"event_id": f"E-{n}", "raw": raw[n], "reason": "bad"} for n in range(3)))
    letters, cluster = refused.select(*dead_letter(refused, "q")), KafkaOptions(bootstrap_servers=kafka.bootstrap)
    target, put = TopicTarget(cluster, topic, contract), TopicTarget.put

    def cut_off(self, leads, name, begun):
        put(self, leads.orderBy("event_id").limit(sent_before), name, begun)
        raise OSError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(TopicTarget, "put", cut_off)
        with pytest.raises(OSError, match="plug"):
            redrive(letters, contract, target, Storage(spark), str(tmp_path))
    assert redrive(letters, contract, target, Storage(spark), str(tmp_path)).replayed == 0
    reader = spark.read.format("kafka").options(**cluster.client(), subscribe=topic, includeHeaders=True)
    found = reader.load().select(header("event_id").alias("id")).collect()
    assert sorted(record.id for record in found) == ["E-0", "E-0", "E-1", "E-2"]


def test_one_plan_may_route_scores_and_dead_letters_to_their_topics(spark, scores):
    scored = scored_rows(spark, {}, {"reason": "bad", "raw": "x"}).withColumn("epoch", F.lit("7"))
    rows = kafka_rows(scored, small_contract(), "out", "dead-out")
    found = {r.topic: json.loads(bytes(r.value)) for r in rows.collect()}
    assert found["out"]["LeadId"] == "lead-0"
    assert (found["dead-out"]["reason"], found["dead-out"]["raw"]) == ("bad", "x")


def test_a_batch_for_kafka_is_counted_on_its_way(spark, kafka):
    for name in ("counted", "counted-dead"):
        kafka.create_topic(name)
    cluster = KafkaOptions(bootstrap_servers=kafka.bootstrap)
    letters = DeadLetterSink(DeadLetterTopic(cluster, "counted-dead"), "q")
    write = BatchWriter([KafkaSink(cluster, "counted", small_contract())], lambda batch: None, dead_letters=letters)
    write(scored_rows(spark, {}, {"unknown_categories": 2}, {"reason": "bad", "raw": "x"}), 3)
    tally = write.tallies[3]
    assert (tally.rows, tally.scored, tally.unknown_categories) == (3, 2, 2)
    topics = Topics(kafka.bootstrap)
    assert len(topics.read("counted", 2)) == 2
    assert json.loads(topics.read("counted-dead", 1)[0].value())["raw"] == "x"


def letter_to_kafka(spark, kafka, raw: str, lead: str = "lead") -> dict:
    """A dead letter as it comes out of a topic."""
    topic = f"letters-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    rows = scored_rows(spark, {"reason": "bad", "raw": raw, "LeadId": lead})
    refused = rows.select(*dead_letter(rows, "q"))
    DeadLetterTopic(KafkaOptions(bootstrap_servers=kafka.bootstrap), topic).put(refused, 0, REFUSED)
    return json.loads(Topics(kafka.bootstrap).read(topic, 1)[0].value())


def test_a_text_that_fits_into_a_letter_stays_whole(spark, kafka):
    assert letter_to_kafka(spark, kafka, "x" * 800_000)["raw"] == "x" * 800_000


# Quotes take two bytes each in a letter.
@pytest.mark.parametrize("raw", ["x" * 1_040_000, '"' * 600_000])
def test_a_text_too_long_for_kafka_is_left_at_its_origin(spark, kafka, raw):
    letter = letter_to_kafka(spark, kafka, raw)
    assert "raw" not in letter
    assert letter["reason"] == "bad; the text is too long for a letter and stands at its origin alone"


def test_an_endless_id_of_a_lead_is_cut_in_its_letter(spark, kafka):
    assert letter_to_kafka(spark, kafka, "{}", "i" * 1_040_000)["lead"] == "i" * 256


@pytest.mark.usefixtures("kafka")  # which brings the connector
def test_kafkas_client_reads_a_secret_from_the_environment(spark):
    """The reference that stands in Spark's options is resolved inside the client, by Kafka's own provider."""
    provider = spark._jvm.org.apache.kafka.common.config.provider.EnvVarConfigProvider()
    provider.configure(spark._jvm.java.util.HashMap())
    transformer = spark._jvm.org.apache.kafka.common.config.ConfigTransformer({"env": provider})
    found = transformer.transform({"sasl.jaas.config": 'x password="${env:PATH}";'}).data()
    assert found["sasl.jaas.config"].startswith('x password="/')


def test_events_of_a_transaction_that_was_aborted_are_none(spark, kafka, tmp_path):
    kafka.create_topic("transactions")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "crm"})
    producer.init_transactions(30)
    for commits, ids in ((False, "ab"), (True, "cd"), (False, "e")):
        producer.begin_transaction()
        for word in ids:
            producer.produce("transactions", json.dumps({"LeadId": word, "Visits": 1}).encode())
        producer.flush(30)
        producer.commit_transaction(30) if commits else producer.abort_transaction(30)
    source = TopicOptions(kafka=KafkaOptions(bootstrap_servers=kafka.bootstrap), topics="transactions", max_offsets=3)
    found = []
    plan = events(arrivals(spark, source, small_contract()), small_contract())
    stream = plan.writeStream.foreachBatch(lambda batch, number: found.extend(r.LeadId for r in batch.collect()))
    checkpoint = str(tmp_path / "checkpoint")
    stream.option("checkpointLocation", checkpoint).trigger(availableNow=True).start().awaitTermination()
    assert sorted(found) == ["c", "d"]
