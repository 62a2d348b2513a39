"""One query with three sinks: every score in the lake, the hot leads in PostgreSQL and at the CRM, and nothing else."""

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import pytest
from confluent_kafka import Producer

from tests.crm import Crm, receiving
from tests.integration.conftest import on_trial
from tests.trials import Trial

NASTY = ("<script>alert(1)</script>", "'); DROP TABLE scored_events; --")
HOT = 70


@dataclass
class FannedOut:
    """A trial, the CRM that saw its hot leads, the lake's rows by event id, and the lines of the log."""

    trial: Trial
    crm: Crm
    rows: dict[str, dict]
    log: list[dict]


@pytest.fixture(scope="module")
def fanned_out(two_versions, spark, kafka, postgres, tmp_path_factory) -> Iterator[FannedOut]:
    """Leads of one topic that went to three sinks at once."""
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
        trial.webhook, crm.answers = crm.url, {f"{trial.topic}-{NASTY[0]}": [422]}
        with redirect_stdout(StringIO()) as said:
            trial.run(sink="parquet,postgres,webhook", hot=HOT, quiet=False)
        log = [json.loads(line) for line in said.getvalue().splitlines() if line.startswith("{")]
        yield FannedOut(trial, crm, {row["event_id"]: row for row in trial.scores()}, log)


def hot(rows: dict[str, dict]) -> set[str]:
    """The events at or above the threshold, by the lake's scores."""
    return {event for event, row in rows.items() if row["score"] >= HOT}


def test_every_good_event_is_in_the_lake_once(fanned_out):
    trial, rows = fanned_out.trial, fanned_out.rows
    assert set(rows) == trial.good | {f"{trial.topic}-{lead}" for lead in NASTY}
    assert len(trial.scores()) == len(rows)


def test_some_leads_are_hot_and_some_are_not(fanned_out):
    rows = fanned_out.rows
    assert 0 < len(hot(rows)) < len(rows)


def test_postgresql_holds_the_hot_ones_alone(fanned_out):
    trial, rows = fanned_out.trial, fanned_out.rows
    assert sorted(event for (event,) in trial.events()) == sorted(hot(rows))


def test_the_crm_was_given_the_hot_ones_alone_each_once(fanned_out):
    crm, rows = fanned_out.crm, fanned_out.rows
    assert crm.keys() == dict.fromkeys(hot(rows), 1)


def test_markup_and_sql_in_a_leads_id_stay_text_everywhere(fanned_out):
    trial, crm, rows = fanned_out.trial, fanned_out.crm, fanned_out.rows
    events = {f"{trial.topic}-{lead}": lead for lead in NASTY}
    assert {event: rows[event]["LeadId"] for event in events} == events
    assert dict(trial.events("event_id, lead_id")).items() >= events.items()
    assert {key: body["LeadId"] for key, _, body in crm.seen if key in events} == events


def test_the_log_tells_how_far_the_broker_is_ahead_after_each_batch(fanned_out):
    batches = [line for line in fanned_out.log if line["event"] == "batch"]
    events = len(NASTY) + fanned_out.trial.sent
    assert [line["rows_in"] for line in batches] == [fanned_out.trial.per_batch, events - fanned_out.trial.per_batch]
    assert [line["lag"] for line in batches] == [events - fanned_out.trial.per_batch, 0]


def test_the_log_tells_what_the_crm_did_not_take(fanned_out):
    told = [line for line in fanned_out.log if line["event"] == "undelivered"]
    assert [(line["batch"], line["leads"], line["reason"]) for line in told] == [(0, 1, "not delivered: HTTP 422")]
