"""PostgreSQL as a sink: every event once, the newest score of a lead, and servers that go away."""

import threading
import traceback

import psycopg
import pytest
from psycopg import sql
from pyspark.sql import functions as F

from serving.errors import StopAsked
from serving.postgres import DatabaseRefused, PostgresOptions, PostgresSink
from serving.postgres_tables import OtherTables, Tables
from serving.retries import Patience
from tests.leads import small_contract
from tests.scored import scored_rows

AWAY = "postgresql://postgres@127.0.0.1:9/postgres"
SHORT = Patience(first=0.05, longest=0.2, total=1)
NASTY = ["<script>alert(1)</script>", "'); DROP TABLE scored_events;--", "tab\tnew\nline\\N \\", "ü😀"]


@pytest.fixture
def tables(postgres, request):
    """Tables of the test's own, dropped afterwards."""
    word = f"t{abs(hash(request.node.name)) % 10**9}"
    made = Tables(events=f"{word}_events", scores=f"{word}_scores", ledger=f"{word}_ledger")
    yield made
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"drop table if exists {made.events}, {made.scores}, {made.ledger}")


@pytest.fixture
def open_sink(postgres, tables):
    """Sinks on the test's tables."""
    opened = []

    def make(query="q1", hot=0, patience=SHORT, **waits):
        options = PostgresOptions(dsn=postgres.dsn, tables=tables, hot=hot, patience=patience, **waits)
        opened.append(PostgresSink(options, small_contract(), query))
        opened[-1].prepare()
        return opened[-1]

    yield make
    for sink in opened:
        sink.close()


@pytest.fixture
def ask(postgres):
    def run(statement):
        with psycopg.connect(postgres.dsn) as connection:
            return connection.execute(statement).fetchall()

    return run


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


def test_a_server_that_is_stopped_in_the_middle_of_a_write_is_waited_for(spark, postgres, open_sink, tables, ask):
    sink = open_sink(patience=Patience(first=0.1, longest=0.5, total=90))
    sink.write(scored_rows(spark, {"event_id": "before"}), 0)
    merge, broken = Tables.merge, threading.Event()

    def stopped(self, connection, *args):
        if not broken.is_set():
            broken.set()
            postgres.kill()
            threading.Timer(1, postgres.start).start()
        return merge(self, connection, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tables, "merge", stopped)
        assert sink.write(scored_rows(spark, {}, {}), 1) == 2
    assert ask(f"select count(*) from {tables.events}") == [(3,)]
    assert ask(f"select batch_id from {tables.ledger} order by 1") == [(0,), (1,)]


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


def test_a_server_that_stays_away_ends_in_a_clear_error(spark, open_sink, tables):
    sink = open_sink()
    sink.close()
    sink.options = sink.options.model_copy(update={"dsn": AWAY})
    with pytest.raises(DatabaseRefused, match="batch 3 could not be written"):
        sink.write(scored_rows(spark, {}), 3)


def test_a_stop_while_the_server_is_away_is_told_from_a_fault(spark, open_sink):
    sink = open_sink()
    sink.close()
    sink.options, sink.stop = sink.options.model_copy(update={"dsn": AWAY}), threading.Event()
    sink.stop.set()
    with pytest.raises(StopAsked, match="batch 3 could not be written"):
        sink.write(scored_rows(spark, {}), 3)


def test_a_lock_that_another_keeps_is_not_waited_for_without_end(spark, postgres, open_sink, tables, ask):
    sink = open_sink(answer_seconds=1)
    with psycopg.connect(postgres.dsn) as holder:
        holder.execute(f"lock table {tables.events}")
        with pytest.raises(DatabaseRefused, match="lock timeout"):
            sink.write(scored_rows(spark, {}), 0)
    assert sink.write(scored_rows(spark, {}), 0) == 1


@pytest.mark.parametrize(("given", "kept"), [("", "30s"), ("?options=-c%20lock_timeout%3D7s", "7s")])
def test_a_wait_that_the_address_names_is_kept(postgres, given, kept):
    with PostgresOptions(dsn=postgres.dsn + given).connect() as connection:
        assert connection.execute("show lock_timeout").fetchone() == (kept,)


def test_a_wrong_password_is_refused_at_once_and_never_shown(postgres, tables, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wrong-secret")
    options = PostgresOptions(dsn=postgres.dsn, tables=tables, patience=Patience(total=600))
    with pytest.raises(DatabaseRefused, match="password authentication failed") as refused:
        PostgresSink(options, small_contract(), "q").prepare()
    assert "wrong-secret" not in "".join(traceback.format_exception(refused.value))


def test_preparing_twice_changes_nothing(open_sink, tables, ask):
    open_sink()
    open_sink()
    assert ask(f"select count(*) from {tables.ledger}") == [(0,)]


def test_a_table_of_someone_elses_is_refused(postgres, tables, open_sink):
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute(f"create table {tables.events} (name text)")
    with pytest.raises(OtherTables, match="name another"):
        open_sink()


def test_a_server_that_only_reads_is_waited_for(spark, postgres, open_sink, tables, ask):
    sink = open_sink(patience=Patience(first=0.2, longest=0.2, total=60))
    user = psycopg.conninfo.conninfo_to_dict(postgres.dsn)["user"]
    role = sql.Identifier(user)

    def only_reads(word):
        with psycopg.connect(
            postgres.dsn, autocommit=True, options="-c default_transaction_read_only=off"
        ) as connection:
            change = sql.SQL("ALTER ROLE {} SET default_transaction_read_only = {}")
            connection.execute(change.format(role, sql.SQL(word)))

    sink.close()
    only_reads("on")
    back = threading.Timer(2, only_reads, ["off"])
    back.start()
    try:
        assert sink.write(scored_rows(spark, {}), 0) == 1
    finally:
        back.join()
        only_reads("off")


def test_who_may_not_make_tables_may_be_given_them(spark, postgres, open_sink, tables, ask, monkeypatch):
    open_sink()
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        connection.execute(
            f"GRANT SELECT, INSERT, UPDATE ON {tables.events}, {tables.scores}, {tables.ledger} TO guest"
        )
        connection.execute(f"GRANT TEMP ON DATABASE {connection.info.dbname} TO guest")
    monkeypatch.setenv("PGPASSWORD", "guest")
    dsn = psycopg.conninfo.make_conninfo(postgres.dsn, user="guest")
    guests = PostgresSink(PostgresOptions(dsn=dsn, tables=tables, hot=0, patience=SHORT), small_contract(), "q")
    try:
        guests.prepare()
        assert guests.write(scored_rows(spark, {}), 0) == 1
    finally:
        guests.close()
        monkeypatch.undo()
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute("DROP OWNED BY guest")
            connection.execute("DROP ROLE guest")


def test_a_database_that_has_no_place_for_every_id_is_refused(postgres, tables):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE narrow ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    dsn = psycopg.conninfo.make_conninfo(postgres.dsn, dbname="narrow")
    sink = PostgresSink(PostgresOptions(dsn=dsn, tables=tables, patience=SHORT), small_contract(), "q")
    try:
        with pytest.raises(OtherTables, match=r"LATIN1.*UTF8"):
            sink.prepare()
    finally:
        sink.close()
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute("DROP DATABASE narrow")


def test_text_goes_as_utf_8_whatever_the_environment_says(postgres, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with PostgresOptions(dsn=postgres.dsn).connect() as connection:
        assert connection.info.encoding == "utf-8"
