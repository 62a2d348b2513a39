"""Parameters of the stream: what goes together is known before anything starts."""

import re

import pytest
from pydantic import ValidationError

from pipelines.stream_options import Connections, SinkName, StreamOptions, UnfitOptions, check, uses_kafka
from serving.kafka import KafkaOptions
from serving.queries import BadTrigger, Mode
from serving.sinks import UnknownSink

KAFKA = Connections(kafka="127.0.0.1:9092")
REAL_TIME = {"mode": "real-time", "source": "kafka:leads", "sink": "kafka", "topic": "scores"}


def refusal(connections: Connections = KAFKA, **options) -> str:
    with pytest.raises(UnfitOptions) as found:
        check(StreamOptions(**options), connections)
    return str(found.value)


def test_the_defaults_go_together():
    assert check(StreamOptions(), Connections()) is None  # it raises where they do not


def test_real_time_from_kafka_to_kafka_goes_together():
    assert check(StreamOptions(**REAL_TIME), KAFKA) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": "data/stream"}, "source=kafka:TOPIC"),
        ({"sink": "kafka,parquet"}, "sink=kafka"),
        ({"dead_letters": "data/dead"}, "dead_letters=kafka:TOPIC"),
        ({"available_now": True}, "available_now=false"),
        ({"max_offsets_per_trigger": 5}, "max_offsets_per_trigger"),
        ({"trigger": "0 seconds"}, "trigger is for mode=micro-batch"),
        ({"hot": 50}, "hot is for sink=postgres"),
        ({"output": "data/scores"}, "output is for sink=parquet"),
        ({"max_files_per_trigger": 2}, "max_files_per_trigger is for a source of files"),
        ({"epoch": "4 seconds"}, "at least 5 seconds"),
        ({"epoch": "2 minutes"}, "epoch must be 5 seconds shorter than drain"),
        ({"epoch": "71 seconds"}, "epoch must be 5 seconds shorter than drain"),
        ({"reasons": True}, "reasons=false, or mode=micro-batch"),
        ({"topic": ""}, "topic=TOPIC"),
        ({"topic": "leads"}, "different topics"),
        ({"dead_letters": "kafka:leads"}, "different topics"),
    ],
)
def test_real_time_mode_names_what_it_does_not_support(changed, said):
    assert said in refusal(**{**REAL_TIME, **changed})


def test_every_refusal_is_named_at_once():
    said = refusal(**{**REAL_TIME, "sink": "console", "epoch": "1 second"})
    assert "sink=kafka" in said
    assert "at least 5 seconds" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_offsets_per_trigger": 5}, "max_offsets_per_trigger is for source=kafka"),
        ({"starting_offsets": "latest"}, "starting_offsets is for source=kafka"),
        ({"epoch": "30 seconds"}, "epoch is for mode=real-time"),
        ({"source": "kafka:"}, "source=kafka: names no topic"),
        ({"source": "kafka:, ,"}, "source=kafka: names no topic"),
        ({"source": "kafka:leads, leads"}, "source, topic and dead_letters must be different topics"),
        ({"source": "kafka:leads", "dead_letters": "kafka:"}, "dead_letters=kafka: names no topic"),
        ({"sink": "kafka"}, "topic=TOPIC"),
        ({"topic": "scores"}, "topic is for sink=kafka"),
        ({"hot": 50}, "hot is for sink=postgres and sink=webhook"),
        ({"sink": "console", "output": "data/scores"}, "output is for sink=parquet"),
        ({"source": "kafka:leads", "max_files_per_trigger": 2}, "max_files_per_trigger is for a source of files"),
        ({"source": "kafka:leads", "source_format": "csv"}, "source_format is for a source of files"),
        ({"source": "kafka:leads", "starting_offsets": "soon"}, "starting_offsets must be earliest, latest"),
        ({"source": "kafka:leads", "starting_offsets": "[5]"}, "starting_offsets must be earliest, latest"),
        ({"source": "kafka:leads", "starting_offsets": "{}"}, "starting_offsets must be earliest, latest"),
        ({"source": "kafka:leads", "starting_offsets": '{"leads": {"x": 5}}'}, "starting_offsets must be earliest"),
        ({"source": "kafka:leads", "starting_offsets": '{"other": {"0": 5}}'}, "must name each topic of the source"),
        ({"source": "kafka:leads,b", "starting_offsets": '{"b": {"0": 5}}'}, "must name each topic of the source"),
        ({"source": "kafka:a lead"}, "'a lead' has not"),
        ({"source": "kafka:leads,.."}, "'..' has not"),
        ({"sink": "kafka", "topic": "x" * 250}, "the name of a Kafka topic has 1 to 249"),
        ({"fail_on_data_loss": False}, "fail_on_data_loss is for source=kafka"),
        ({"health_host": "0.0.0.0"}, "health_host is for health_port=PORT"),
        ({"stuck_after": "1 hour"}, "stuck_after is for health_port=PORT"),
        ({"poll": "0 seconds"}, "poll must be longer than nothing"),
    ],
)
def test_micro_batches_refuse_what_would_have_no_effect(options, said):
    assert said in refusal(**options)


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        ({"source": "kafka:leads"}, "LEADS_KAFKA"),
        ({"sink": "postgres"}, "LEADS_POSTGRES_DSN"),
        ({"sink": "webhook"}, "LEADS_WEBHOOK_URL"),
    ],
)
def test_a_service_that_is_not_named_in_the_environment_is_asked_for(options, variable, monkeypatch):
    for name in ("LEADS_KAFKA", "LEADS_POSTGRES_DSN", "LEADS_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    assert variable in refusal(Connections(), **options)


@pytest.mark.parametrize(
    ("options", "wrong", "said"),
    [
        ({"source": "kafka:leads"}, {"kafka": "broker"}, "LEADS_KAFKA or LEADS_KAFKA_[*]: it must be host:port"),
        ({"source": "kafka:leads"}, {"kafka": "one:9092, two"}, "LEADS_KAFKA or LEADS_KAFKA_[*]: it must be host:port"),
        (
            {"source": "kafka:leads"},
            {"kafka": "b:9092", "kafka_keystore": "k.pem"},
            "LEADS_KAFKA or LEADS_KAFKA_[*]: .* need TLS",
        ),
        ({"sink": "postgres"}, {"postgres_dsn": "postgresql://u:hidden@h/d"}, "LEADS_POSTGRES_DSN: "),
        ({"sink": "webhook"}, {"webhook_url": "http://hidden.example"}, "LEADS_WEBHOOK_URL: url must be https"),
    ],
)
def test_an_address_of_no_use_is_told_by_its_variable_and_not_shown(options, wrong, said):
    told = refusal(Connections(**wrong), **options)
    assert re.match(said, told), told
    assert "hidden" not in told


@pytest.mark.parametrize("address", ["b:9092", "b1:9092,b2:9092", "SSL://b.example:9093, 10.0.0.1:9092", "[::1]:9092"])
def test_kafka_s_addresses_are_taken_as_its_client_takes_them(address):
    assert KafkaOptions(bootstrap_servers=address).bootstrap_servers == address


@pytest.mark.parametrize("name", ["trigger", "epoch", "poll", "registry_wait", "drain", "stuck_after"])
def test_a_length_of_time_is_named_where_it_is_none(name):
    with pytest.raises(BadTrigger, match=f"^{name} 'soon'"):
        check(StreamOptions(**{name: "soon"}), Connections())


@pytest.mark.parametrize("text", ["", " , ", "topic", "console,file"])
def test_a_sink_that_does_not_exist_is_refused(text):
    with pytest.raises(UnknownSink, match="parquet, kafka, postgres, webhook, console"):
        check(StreamOptions(sink=text), Connections())


def test_what_is_shown_on_the_console_has_been_stored_before():
    assert StreamOptions(sink="console,postgres,parquet").sinks == (
        SinkName.PARQUET,
        SinkName.POSTGRES,
        SinkName.CONSOLE,
    )


@pytest.mark.parametrize("offsets", ["earliest", "latest", '{"leads": {"0": 5}}'])
def test_a_query_may_begin_at_either_end_or_at_offsets(offsets):
    assert check(StreamOptions(source="kafka:leads", starting_offsets=offsets), KAFKA) is None


def test_a_micro_batch_is_bounded_unless_told_otherwise_and_an_epoch_is_not():
    assert StreamOptions(source="kafka:leads").max_offsets == 100_000
    assert StreamOptions(source="kafka:leads", max_offsets_per_trigger=0).max_offsets is None
    assert StreamOptions(**REAL_TIME).max_offsets is None


def test_refused_events_of_real_time_mode_have_a_topic_of_their_own():
    assert StreamOptions(**REAL_TIME).dead_letter_topic == "scores-dead-letters"
    assert StreamOptions(**REAL_TIME, dead_letters="kafka:dead").dead_letter_topic == "dead"


def test_files_to_files_need_no_kafka_connector_and_everything_else_does():
    assert not uses_kafka(StreamOptions())
    assert uses_kafka(StreamOptions(dead_letters="kafka:dead"))
    assert uses_kafka(StreamOptions(source="kafka:leads"))


def test_a_mode_is_one_of_two():
    assert [mode.value for mode in Mode] == ["micro-batch", "real-time"]
    with pytest.raises(ValidationError):
        StreamOptions(mode="continuous")
