"""The stream on a broker that speaks TLS alone and asks for a certificate and a password: both ways, and without."""

import os
import secrets

import pytest
import requests

from tests.integration.conftest import on_trial, running
from tests.secured_services import SecuredBroker
from tests.service_process import free_ports

PASSWORD = secrets.token_hex(16)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A secured broker."""
    with running(lambda: SecuredBroker(tmp_path_factory.mktemp("secured"), PASSWORD)) as broker:
        yield broker


@pytest.fixture
def secured_trial(spark, two_versions, secured, postgres, tmp_path):
    """A stream on it."""
    with on_trial(spark, two_versions, secured, postgres, tmp_path) as found:
        yield found


def test_leads_come_and_scores_go_by_tls_with_a_password_that_stands_in_no_file(secured, secured_trial):
    target = f"{secured_trial.topic}-scores"
    secured.create_topic(target)
    secured_trial.send(20)
    with secured_trial.streaming(available_now="true", sink="parquet,kafka", topic=target) as stream:
        assert stream.ended() == 0, stream.last_words()
    assert {row["event_id"] for row in secured_trial.scores()} == secured_trial.good
    assert set(secured_trial.events_in(target)) == secured_trial.good
    assert secured_trial.holding(PASSWORD) == []


def pages_of(ui):
    """What Spark's UI and its REST address show, by path; every query and every job with its plan."""
    (application,) = requests.get(f"{ui}/api/v1/applications", timeout=30).json()
    rest = f"/api/v1/applications/{application['id']}"
    queries = requests.get(f"{ui}{rest}/sql", timeout=30).json()
    jobs = requests.get(f"{ui}{rest}/jobs", timeout=30).json()
    paths = ["/environment/", "/jobs/", "/stages/", "/executors/", "/SQL/", "/StreamingQuery/"]
    paths += [f"{rest}/{name}" for name in ("environment", "jobs", "stages", "executors", "sql?planDescription=true")]
    paths += [f"/SQL/execution/?id={query['id']}" for query in queries]
    paths += [f"/jobs/job/?id={job['jobId']}" for job in jobs]
    found = {path: requests.get(f"{ui}{path}", timeout=30) for path in paths}
    assert {path: page.status_code for path, page in found.items() if page.status_code != 200} == {}
    return {path: page.text for path, page in found.items()}


def test_spark_s_ui_shows_no_password(secured, secured_trial):
    target, port = f"{secured_trial.topic}-scores", free_ports(1)[0]
    secured.create_topic(target)
    secured_trial.send(80)
    changed = {"sink": "parquet,kafka,postgres", "topic": target}
    with secured_trial.streaming(str(port), module="tests.stream_with_ui", **changed) as stream:
        stream.until(lambda: stream.batches() >= 2)
        pages = pages_of(f"http://127.0.0.1:{port}")
    shown = "\n".join(pages.values())
    assert "/SQL/execution/?id=0" in pages
    assert secured_trial.topic in shown
    assert "spark.ui.port" in pages["/environment/"]
    for secret in (PASSWORD, os.environ["PGPASSWORD"]):
        assert [path for path, text in pages.items() if secret in text] == []


@pytest.mark.parametrize("name", ["KAFKA_PASSWORD", "LEADS_KAFKA_KEYSTORE", "KAFKA_KEYSTORE_PASSWORD"])
def test_a_wrong_login_ends_in_one_line_that_does_not_show_it(secured_trial, monkeypatch, name):
    wrong = "" if name == "LEADS_KAFKA_KEYSTORE" else secrets.token_hex(16)
    monkeypatch.setattr(SecuredBroker, "environment", secured_trial.kafka.environment | {name: wrong})
    with secured_trial.streaming(available_now="true", sink="parquet") as stream:
        assert stream.ended() == 2, stream.last_words()
    (told,) = [line for line in stream.said().splitlines() if line.startswith("error: ")]
    assert name in told
    assert not wrong or wrong not in stream.said()
    assert "Traceback" not in stream.said()
