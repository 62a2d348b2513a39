"""One query with three sinks: every score in the lake, the hot leads in PostgreSQL and at the CRM, and nothing else."""

import json

import pytest
from confluent_kafka import Producer

from tests.crm import Crm, receiving
from tests.integration.conftest import on_trial
from tests.trials import Trial

NASTY = ("<script>alert(1)</script>", "'); DROP TABLE scored_events; --")
HOT = 70


@pytest.fixture(scope="module")
def fanned_out(two_versions, spark, kafka, postgres, tmp_path_factory) -> tuple[Trial, Crm, dict[str, dict]]:
    """A trial whose leads went to three sinks at once, the CRM that saw some, and the lake's rows by event id."""
    folder = tmp_path_factory.mktemp("fan-out")
    with on_trial(spark, two_versions, kafka, postgres, folder) as trial, receiving() as crm:
        producer = Producer(kafka.client)
        for lead in NASTY:
            event = {
                "LeadId": lead,
                "Visits": 8,
                "Seconds": 800.0,
                "City": "Mumbai",
                "event_id": f"{trial.topic}-{lead}",
            }
            producer.produce(trial.topic, json.dumps(event).encode())
        assert producer.flush(60) == 0
        trial.send(50)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LEADS_WEBHOOK_URL", crm.url)
            trial.run(sink="parquet,postgres,webhook", hot=HOT)
        yield trial, crm, {row["event_id"]: row for row in trial.scores()}


def hot(rows: dict[str, dict]) -> set[str]:
    """The events at or above the threshold, by the lake's scores."""
    return {event for event, row in rows.items() if row["score"] >= HOT}


def test_every_good_event_is_in_the_lake_once(fanned_out):
    trial, _, rows = fanned_out
    assert set(rows) == trial.good | {f"{trial.topic}-{lead}" for lead in NASTY}
    assert len(trial.scores()) == len(rows)


def test_some_leads_are_hot_and_some_are_not(fanned_out):
    _, _, rows = fanned_out
    assert 0 < len(hot(rows)) < len(rows)


def test_postgresql_holds_the_hot_ones_alone(fanned_out):
    trial, _, rows = fanned_out
    assert sorted(event for (event,) in trial.events()) == sorted(hot(rows))


def test_the_crm_was_given_the_hot_ones_alone_each_once(fanned_out):
    _, crm, rows = fanned_out
    assert crm.keys() == dict.fromkeys(hot(rows), 1)


def test_markup_and_sql_in_a_leads_id_stay_text_everywhere(fanned_out):
    trial, crm, rows = fanned_out
    events = {f"{trial.topic}-{lead}": lead for lead in NASTY}
    assert {event: rows[event]["LeadId"] for event in events} == events
    assert dict(trial.events("event_id, lead_id")).items() >= events.items()
    assert {key: body["LeadId"] for key, _, body in crm.seen if key in events} == events
