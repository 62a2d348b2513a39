"""Options of sources and sinks: what is refused, and secrets that never stand in them."""

import re

import pytest
from pydantic import ValidationError

from serving.kafka import KafkaOptions, UnfitLogin, refusal
from serving.postgres import PostgresOptions
from serving.postgres_tables import Tables
from serving.sources import FileOptions, TopicOptions
from serving.webhook import UnfitToken, WebhookOptions, token

BROKER = "127.0.0.1:9092"


@pytest.mark.parametrize("name", ["scored", "crm.scored", "_x1"])
def test_a_table_may_have_a_plain_name_and_a_schema(name):
    assert Tables(events=name).events == name


@pytest.mark.parametrize(
    "name", ["", "a b", 'a"b', "a;drop table b", "a.b.c", "1a", "a-b", "a.", "x" * 64, "a\n", "ä", "a'--"]
)
def test_any_other_table_name_is_refused(name):
    with pytest.raises(ValidationError, match="no table name"):
        Tables(events=name)


def test_the_three_tables_must_differ():
    with pytest.raises(ValidationError, match="three tables"):
        Tables(events="scores", scores="Scores")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:secret@h/d",
        "host=h password=secret",
        "postgresql://h/d?password=secret",
        "host=h sslpassword=secret",
        "secret secret",
    ],
)
def test_a_dsn_with_a_password_is_refused_without_showing_it(dsn):
    with pytest.raises(ValidationError) as refused:
        PostgresOptions(dsn=dsn)
    assert "secret" not in refused.value.errors(include_input=False)[0]["msg"]


def test_a_dsn_passes_on_how_tls_is_checked():
    dsn = "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem"
    assert PostgresOptions(dsn=dsn).dsn == dsn


LOGIN = {"KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "secret"}


@pytest.mark.parametrize("name", LOGIN)
@pytest.mark.parametrize("value", ["", 'sec"ret', "sec\\ret", "secret\n"])
def test_a_login_that_kafka_would_not_take_as_it_stands_is_refused_without_showing_it(name, value):
    options = KafkaOptions(bootstrap_servers=BROKER, security_protocol="SASL_SSL")
    assert options.check_login(LOGIN) is None  # it raises
    with pytest.raises(UnfitLogin, match=name) as refused:
        options.check_login(LOGIN | {name: value})
    assert "ret" not in str(refused.value)


def test_a_cluster_without_login_asks_for_none():
    assert KafkaOptions(bootstrap_servers=BROKER, security_protocol="SSL").check_login({}) is None


@pytest.mark.parametrize("store", ["truststore", "keystore"])
def test_a_file_of_certificates_whose_password_is_missing_is_named(store):
    found = {store: "/a.p12", f"{store}_secured": True}
    options = KafkaOptions(bootstrap_servers=BROKER, security_protocol="SSL", **found)
    name = f"KAFKA_{store.upper()}_PASSWORD"
    assert options.check_login({name: "secret"}) is None  # it raises
    with pytest.raises(UnfitLogin, match=f"{name} .*LEADS_KAFKA_{store.upper()}_SECURED=false"):
        options.check_login({})


def test_a_record_beyond_what_spark_can_hold_is_named_with_the_way_past_it():
    said = (
        "Record at topic far partition 0 offset 7 has timestamp value 9300000000000000 that overflows when converting"
    )
    assert re.search(
        "far/0/7 .*starting_offsets behind that record", str(refusal(f"[STREAM_FAILED] ... {said} to ..."))
    )


def test_a_cluster_that_stays_away_is_told_in_one_line():
    said = (
        "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: describeTopics"
    )
    assert "no broker answered" in str(refusal(said))


def test_a_token_of_a_file_is_taken_without_its_line_break():
    assert token({"LEADS_WEBHOOK_TOKEN": "secret\n"}) == "secret"


@pytest.mark.parametrize("value", ["sec\nret", "secr\u2028t", "sécret"])
def test_a_token_that_no_header_holds_is_refused_without_showing_it(value):
    with pytest.raises(UnfitToken, match="LEADS_WEBHOOK_TOKEN") as refused:
        token({"LEADS_WEBHOOK_TOKEN": value})
    assert "ret" not in str(refused.value)


def test_plain_kafka_needs_only_addresses():
    assert KafkaOptions(bootstrap_servers=BROKER).client() == {
        "kafka.bootstrap.servers": BROKER,
        "kafka.security.protocol": "PLAINTEXT",
    }


def test_kafkas_secrets_are_references_to_the_environment(monkeypatch):
    monkeypatch.setenv("KAFKA_PASSWORD", "secret-word")
    options = KafkaOptions(
        bootstrap_servers=BROKER, security_protocol="SASL_SSL", truststore="/ca.pem", keystore="/me.p12"
    ).client()
    assert "secret-word" not in str(options)
    assert 'password="${env:KAFKA_PASSWORD}"' in options["kafka.sasl.jaas.config"]
    assert options["kafka.ssl.keystore.password"] == "${env:KAFKA_KEYSTORE_PASSWORD}"
    assert (options["kafka.ssl.truststore.type"], options["kafka.ssl.keystore.type"]) == ("PEM", "PKCS12")
    assert options["kafka.config.providers"] == "env"


def test_the_password_of_a_keystore_of_text_is_its_key_s():
    options = KafkaOptions(bootstrap_servers=BROKER, security_protocol="SSL", keystore="/me.pem").client()
    assert options["kafka.ssl.key.password"] == "${env:KAFKA_KEYSTORE_PASSWORD}"
    assert "kafka.ssl.keystore.password" not in options


def test_a_truststore_of_text_has_no_password():
    with pytest.raises(ValidationError, match="has no password"):
        KafkaOptions(bootstrap_servers=BROKER, security_protocol="SSL", truststore="/ca.pem", truststore_secured=True)


def test_a_truststore_without_tls_is_refused():
    with pytest.raises(ValidationError, match="need TLS"):
        KafkaOptions(bootstrap_servers=BROKER, truststore="/ca.pem")


@pytest.mark.parametrize(
    "url", ["https://crm.example/leads", "http://127.0.0.1:8080/x", "http://localhost/", "http://[::1]/"]
)
def test_a_webhook_may_be_https_or_here(url):
    assert WebhookOptions(url=url).url == url


@pytest.mark.parametrize(
    "url", ["http://crm.example/", "ftp://crm.example", "https://u:p@crm.example/", "https:///x", "x"]
)
def test_any_other_webhook_is_refused(url):
    with pytest.raises(ValidationError, match="url must be https"):
        WebhookOptions(url=url)


def test_a_source_has_bounds():
    with pytest.raises(ValidationError):
        FileOptions(folder="x", max_files=0)
    with pytest.raises(ValidationError):
        TopicOptions(kafka=KafkaOptions(bootstrap_servers=BROKER), topics="t", max_offsets=0)
