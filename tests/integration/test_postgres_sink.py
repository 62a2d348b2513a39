"""PostgreSQL as a sink: every event once, and the newest score of a lead."""

import threading

import psycopg
import pytest
from pyspark.sql import functions as F

from serving.postgres import PostgresSink
from serving.postgres_tables import OtherTables
from tests.scored import scored_rows

NASTY = ["<script>alert(1)</script>", "'); DROP TABLE scored_events;--", "tab\tnew\nline\\N \\", "ü😀"]


def test_events_and_scores_are_there_with_their_values(spark, open_sink, tables, ask):
    assert open_sink().write(scored_rows(spark, {"grade": "A", "Bought": 1}, {"score": 12.5}), 0) == 2
    row = ask(
        f"select lead_id, score, prediction, grade, label, model_version, batch_id from {tables.events} order by 1"
    )
    assert row == [("lead-0", 90.0, 1, "A", 1, 1, 0), ("lead-1", 12.5, 0, None, None, 1, 0)]
    assert (
        ask(f"select scored_at at time zone 'UTC' from {tables.scores}")[0][0].isoformat()
        == "2026-03-04T12:00:01.234000"
    )


REASONS = "array(struct('City' field, 'Pune' value, 18.25D points, 'City <b>Pune</b>: +18 points' text))"


def test_reasons_that_are_told_can_be_asked_for(spark, open_sink, tables, ask):
    open_sink().write(scored_rows(spark, {}).withColumn("reasons", F.expr(REASONS)), 0)
    for table in (tables.events, tables.scores):
        found = ask(f"select reasons->0->>'text', (reasons->0->>'points')::float from {table}")
        assert found == [("City <b>Pune</b>: +18 points", 18.25)]


def test_tables_of_a_release_without_reasons_get_the_column_and_keep_their_rows(spark, open_sink, tables, ask):
    open_sink().write(scored_rows(spark, {"event_id": "old"}), 0)
    with psycopg.connect(open_sink().options.dsn) as connection:
        for table in (tables.events, tables.scores):
            connection.execute(f"alter table {table} drop column reasons")
    open_sink().write(scored_rows(spark, {"event_id": "new"}).withColumn("reasons", F.expr(REASONS)), 1)
    found = ask(f"select event_id, reasons->0->>'field' from {tables.events} order by 1")
    assert found == [("new", "City"), ("old", None)]


def test_a_repeated_batch_writes_nothing(spark, open_sink, tables, ask):
    batch = scored_rows(spark, {}, {})
    assert [open_sink().write(batch, 4), open_sink().write(batch, 4)] == [2, 0]
    assert ask(f"select batch_id, events from {tables.ledger}") == [(4, 2)]


def test_a_repeated_batch_adds_what_became_good_or_hot_between_the_two(spark, open_sink, tables, ask):
    first = {"event_id": "hot", "LeadId": "a", "score": 90.0}, {"event_id": "cold", "LeadId": "b", "score": 40.0}
    open_sink(hot=70).write(scored_rows(spark, *first), 4)
    again = {"event_id": "hot", "score": 20.0}, {"event_id": "cold", "score": 75.0}, {"event_id": "new", "score": 80.0}
    leads = [{"LeadId": lead, **row} for lead, row in zip("abc", again, strict=True)]
    assert open_sink(hot=70).write(scored_rows(spark, *leads), 4) == 2
    assert ask(f"select event_id, score from {tables.events} order by 1") == [("cold", 75), ("hot", 90), ("new", 80)]
    assert ask(f"select lead_id, score from {tables.scores} order by 1") == [("a", 90), ("b", 75), ("c", 80)]
    assert ask(f"select batch_id, events from {tables.ledger}") == [(4, 3)]


def test_a_lead_whose_event_becomes_hot_in_a_repeat_is_hot(spark, open_sink, tables, ask):
    sink = open_sink(hot=70)
    sink.write(scored_rows(spark, {"event_id": "e", "LeadId": "a", "score": 90.0}), 3)
    sink.write(scored_rows(spark, {"event_id": "f", "LeadId": "a", "score": 40.0, "position": 5}), 4)
    assert ask(f"select event_id, score from {tables.scores}") == [("f", 40)]
    sink.write(scored_rows(spark, {"event_id": "f", "LeadId": "a", "score": 75.0, "position": 5}), 4)
    assert ask(f"select event_id, score from {tables.events} order by 1") == [("e", 90), ("f", 75)]
    assert ask(f"select event_id, score from {tables.scores}") == [("f", 75)]


@pytest.mark.parametrize("position", [0, 7])
def test_an_event_that_arrives_again_in_another_batch_is_there_once(spark, open_sink, tables, ask, position):
    sink = open_sink()
    sink.write(scored_rows(spark, {"event_id": "e", "score": 80.0}), 0)
    assert sink.write(scored_rows(spark, {"event_id": "e", "score": 99.0, "position": position}), 1) == 0
    assert ask(f"select score from {tables.events}") == [(80.0,)]
    assert ask(f"select score from {tables.scores}") == [(80.0,)]


@pytest.mark.parametrize("batches", [[["a", "b"], ["a"]], [["a", "b", "a"]]])
def test_an_event_that_arrives_again_does_not_take_the_place_of_a_newer_one(spark, open_sink, tables, ask, batches):
    sink, position = open_sink(), 0
    for number, events in enumerate(batches):
        rows = [{"event_id": e, "LeadId": "x", "position": position + i} for i, e in enumerate(events)]
        sink.write(scored_rows(spark, *rows), number)
        position += len(events)
    assert ask(f"select event_id, position from {tables.scores}") == [("b", 1)]


def test_the_newest_batch_of_a_query_is_told_by_the_ledger(spark, open_sink):
    sink = open_sink()
    assert sink.newest() is None
    for number in (3, 4):
        sink.write(scored_rows(spark, {}), number)
    open_sink(query="q2").write(scored_rows(spark, {}), 9)
    assert sink.newest() == 4


def test_an_event_twice_in_one_batch_is_there_once(spark, open_sink, tables, ask):
    assert open_sink().write(scored_rows(spark, {"event_id": "e"}, {"event_id": "e"}), 0) == 1


@pytest.mark.parametrize("older", [{"event_time": "2026-03-04 11:59:59", "position": 99}, {"position": -1}])
def test_a_late_older_event_never_overwrites_a_newer_score(spark, open_sink, tables, ask, older):
    sink = open_sink()
    sink.write(scored_rows(spark, {"event_id": "new", "score": 91.0}), 0)
    sink.write(scored_rows(spark, {"event_id": "old", "score": 71.0, **older}), 1)
    assert ask(f"select event_id, score from {tables.scores}") == [("new", 91.0)]
    assert len(ask(f"select 1 from {tables.events}")) == 2


def test_of_one_batch_the_newest_event_of_a_lead_counts(spark, open_sink, tables, ask):
    first = {"event_id": "a", "LeadId": "x", "score": 95.0, "event_time": "2026-03-04 13:00:00"}
    open_sink().write(scored_rows(spark, first, {"event_id": "b", "LeadId": "x", "score": 75.0}), 0)
    assert ask(f"select event_id from {tables.scores}") == [("a",)]


def test_only_hot_leads_are_written_and_a_lead_that_cools_down_does_not_stay_hot(spark, open_sink, tables, ask):
    sink = open_sink(hot=70)
    sink.write(scored_rows(spark, {"LeadId": "hot", "score": 70.0}, {"LeadId": "cold", "score": 69.9}), 0)
    sink.write(scored_rows(spark, {"event_id": "later", "LeadId": "hot", "score": 10.0, "position": 5}), 1)
    assert ask(f"select lead_id, score from {tables.events}") == [("hot", 70.0)]
    assert ask(f"select lead_id, score from {tables.scores}") == [("hot", 10.0)]


def test_refused_events_are_left_out(spark, open_sink):
    assert open_sink().write(scored_rows(spark, {"reason": "the event is empty", "LeadId": None}), 0) == 0


def test_names_that_look_like_code_stay_text(spark, open_sink, tables, ask):
    open_sink().write(scored_rows(spark, *({"LeadId": name, "event_id": name} for name in NASTY)), 0)
    assert sorted(r[0] for r in ask(f"select lead_id from {tables.events}")) == sorted(NASTY)


def test_a_commit_whose_answer_was_lost_is_not_written_twice(spark, open_sink, tables, ask, monkeypatch):
    sink = open_sink()
    write, lost = PostgresSink._write, threading.Event()

    def answer_lost(self, *args):
        rows = write(self, *args)
        if not lost.is_set():
            lost.set()
            raise psycopg.OperationalError("the connection is lost")
        return rows

    monkeypatch.setattr(PostgresSink, "_write", answer_lost)
    sink.write(scored_rows(spark, {}, {}), 0)
    assert ask(f"select count(*) from {tables.events}") == [(2,)]


def test_preparing_twice_changes_nothing(open_sink, tables, ask):
    open_sink()
    open_sink()
    assert ask(f"select count(*) from {tables.ledger}") == [(0,)]


def test_a_table_of_someone_elses_is_refused(postgres, tables, open_sink):
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute(f"create table {tables.events} (name text)")
    with pytest.raises(OtherTables, match="name another"):
        open_sink()
