"""PostgreSQL as a sink, where the server is away, busy, read-only, or does not let everyone do everything."""

import threading
import traceback

import psycopg
import pytest
from psycopg import sql

from serving.errors import StopAsked
from serving.postgres import DatabaseRefused, PostgresOptions, PostgresSink
from serving.postgres_tables import OtherTables, Tables
from serving.retries import Patience
from tests.integration.conftest import SHORT
from tests.leads import small_contract
from tests.scored import scored_rows

AWAY = "postgresql://postgres@127.0.0.1:9/postgres"


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


def test_a_server_that_only_reads_is_waited_for(spark, postgres, open_sink):
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


def test_who_may_not_make_tables_may_be_given_them(spark, postgres, open_sink, tables, monkeypatch):
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
