"""The tables of scores in PostgreSQL, and the statements that move a micro-batch from a staging table into them."""

import re
from typing import Annotated, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BaseModel, Field, model_validator

from serving.errors import ServingError

SCHEMA_VERSION = 1
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_COMMENT = "lead-scoring tables, version "
_DDL_LOCK = 7_130_227_401  # any number that all scorers share
STAGED = {
    "event_id": "text",
    "lead_id": "text",
    "event_time": "timestamptz",
    "origin": "text",
    "position": "bigint",
    "score": "double precision",
    "probability": "double precision",
    "prediction": "smallint",
    "grade": "text",
    "model_version": "integer",
    "scored_at": "timestamptz",
    "label": "smallint",
    "reasons": "jsonb",
}
# Columns that tables of an earlier release lack; they are added, and that release goes on writing to the tables.
_LATER = ("reasons",)


class OtherTables(ServingError):
    """Tables of these names exist and are not those that this version writes."""


def table_name(text: str) -> str:
    """A table's name, with or without a schema, of letters, digits and underscores; ValueError for anything else."""
    parts = text.split(".")
    if len(parts) > 2 or not all(re.fullmatch(IDENTIFIER, part) for part in parts):
        raise ValueError(f"{text!r} is no table name: letters, digits and underscores, such as scored or crm.scored")
    return text


def without_password(dsn: str) -> str:
    """A DSN that carries no password; ValueError, which does not repeat it, for any other."""
    try:
        found = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise ValueError("not a PostgreSQL address: give postgresql://user@host:port/database?sslmode=...") from None
    if found.get("password"):
        raise ValueError("holds a password: leave it out, and set PGPASSWORD or PGPASSFILE")
    if found.get("sslpassword"):
        raise ValueError("holds the password of a key: name a service file that holds it (PGSERVICEFILE, PGSERVICE)")
    return dsn


TableName = Annotated[str, AfterValidator(table_name)]
Dsn = Annotated[str, AfterValidator(without_password)]


class Tables(BaseModel, frozen=True, extra="forbid"):
    """Names of the three tables; each may name a schema, which must exist."""

    events: TableName = Field("scored_events", description="one row per event id")
    scores: TableName = Field("lead_scores", description="one row per lead: its newest score")
    ledger: TableName = Field("scored_batches", description="one row per query and micro-batch")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({self.events.lower(), self.scores.lower(), self.ledger.lower()}) < 3:
            raise ValueError("events, scores and ledger must be three tables")
        return self

    def create(self, connection: psycopg.Connection) -> None:
        """Make the tables that are missing; OtherTables where there are others of these names."""
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_DDL_LOCK])
            self._check_encoding(connection)
            for table, statement in zip((self.events, self.scores, self.ledger), _DDL, strict=True):
                # Who may not make tables may have been given them.
                known = connection.execute("SELECT to_regclass(%s)", [_quoted(table, connection)]).fetchone()
                if known is None or known[0] is None:
                    connection.execute(self._named(statement))
            comment = sql.Literal(f"{_COMMENT}{SCHEMA_VERSION}")
            found = connection.execute("SELECT obj_description(%s::regclass)", [_quoted(self.ledger, connection)])
            said = (found.fetchone() or [None])[0]
            if said not in (None, f"{_COMMENT}{SCHEMA_VERSION}"):
                raise OtherTables(
                    f"{self.ledger} is marked {said!r}, expected {_COMMENT + str(SCHEMA_VERSION)!r}; name other tables."
                )
            if said is None:
                connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(_identifier(self.ledger), comment))
            else:
                self._add_columns(connection)
            self._check_columns(connection)

    def newest_batch(self, connection: psycopg.Connection, query: str) -> int | None:
        """The highest number of a query's batches in the ledger; None where it has none."""
        found = connection.execute(self._named(_NEWEST), {"query": query}).fetchone()
        return found[0] if found else None

    def begin_batch(self, connection: psycopg.Connection, query: str, batch: int) -> None:
        """Enter a batch into the ledger, where it may be already."""
        connection.execute(self._named(_LEDGER), {"query": query, "batch": batch})

    def merge(self, connection: psycopg.Connection, hot: float, query: str, batch: int) -> int:
        """Move the staged rows into the tables; the number of new events."""
        values = {"hot": hot, "query": query, "batch": batch}
        new = connection.execute(self._named(_EVENTS), values).rowcount
        connection.execute(self._named(_SCORES), values)
        connection.execute(self._named(_LEDGER_ROWS), {**values, "rows": new})
        return new

    def _add_columns(self, connection: psycopg.Connection) -> None:
        """Add what our tables of an earlier release lack; a table that has it is not locked."""
        has = "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped"
        for table in (self.events, self.scores):
            for name in _LATER:
                if connection.execute(has, [_quoted(table, connection), name]).fetchone() is None:
                    added = sql.SQL("ALTER TABLE {} ADD COLUMN {} " + STAGED[name])
                    connection.execute(added.format(_identifier(table), sql.Identifier(name)))

    @staticmethod
    def _check_encoding(connection: psycopg.Connection) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in ("UTF8", "SQL_ASCII"):
            raise OtherTables(
                f"the database keeps its text as {encoding}, which has no place for every lead's id; name one whose "
                "encoding is UTF8."
            )

    def _check_columns(self, connection: psycopg.Connection) -> None:
        for table, columns in (
            (self.events, (*STAGED, "query_id", "batch_id")),
            (self.scores, tuple(STAGED)),
            (self.ledger, ("query_id", "batch_id", "events", "written_at")),
        ):
            wanted = sql.SQL(", ").join(map(sql.Identifier, columns))
            try:
                connection.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(wanted, _identifier(table)))
            except psycopg.errors.UndefinedColumn as error:
                said = str(error).splitlines()[0]
                raise OtherTables(f"the table {table} is not one of these scores ({said}); name another.") from None

    def _named(self, statement: str) -> sql.Composed:
        names = {"events": self.events, "scores": self.scores, "ledger": self.ledger}
        columns = sql.SQL(", ").join(map(sql.Identifier, STAGED))
        return sql.SQL(statement).format(columns=columns, **{key: _identifier(name) for key, name in names.items()})


def stage(connection: psycopg.Connection) -> None:
    """Make the temporary table that a batch is copied into; it is gone at the end of the transaction."""
    columns = sql.SQL(", ").join(sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in STAGED.items())
    connection.execute(sql.SQL("CREATE TEMP TABLE incoming ({}) ON COMMIT DROP").format(columns))


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))


def _quoted(name: str, connection: psycopg.Connection) -> str:
    return _identifier(name).as_string(connection)


_COLUMNS = """
    lead_id text {key}, event_time timestamptz NOT NULL, origin text NOT NULL, position bigint NOT NULL,
    score double precision NOT NULL, probability double precision NOT NULL, prediction smallint NOT NULL, grade text,
    model_version integer NOT NULL, scored_at timestamptz NOT NULL, label smallint, reasons jsonb
"""
_DDL = (
    f"CREATE TABLE IF NOT EXISTS {{events}} (event_id text PRIMARY KEY, {_COLUMNS.format(key='NOT NULL')},"
    " query_id text NOT NULL, batch_id bigint NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS {{scores}} (event_id text NOT NULL, {_COLUMNS.format(key='PRIMARY KEY')})",
    "CREATE TABLE IF NOT EXISTS {ledger} (query_id text, batch_id bigint, events bigint NOT NULL DEFAULT 0,"
    " written_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (query_id, batch_id))",
)
_LEDGER = "INSERT INTO {ledger} (query_id, batch_id) VALUES (%(query)s, %(batch)s) ON CONFLICT DO NOTHING"
_NEWEST = "SELECT max(batch_id) FROM {ledger} WHERE query_id = %(query)s"
_LEDGER_ROWS = "UPDATE {ledger} SET events = events + %(rows)s WHERE query_id = %(query)s AND batch_id = %(batch)s"
# Always in the order of the key, so that two scorers wait for one another instead of dead-locking.
_EVENTS = """
    INSERT INTO {events} ({columns}, query_id, batch_id)
    SELECT DISTINCT ON (event_id) {columns}, %(query)s, %(batch)s FROM incoming WHERE score >= %(hot)s
    ORDER BY event_id, event_time, position
    ON CONFLICT (event_id) DO NOTHING
"""
# A lead that was hot and is no longer must not go on standing there as hot. An event that arrives again, further back
# in its topic, has been scored: its first score stays here as it does among the events, and where a newer one has
# taken its place, that stays. Of events that were not hot there is no record but the score that is held; one that has
# become hot since, by another version or contract, is entered among the events now, and so held as hot.
_SCORES = """
    INSERT INTO {scores} AS held ({columns})
    SELECT DISTINCT ON (lead_id) {columns} FROM (
        SELECT DISTINCT ON (event_id) {columns} FROM incoming ORDER BY event_id, event_time, position
    ) AS arrived
    WHERE (lead_id IN (SELECT lead_id FROM incoming WHERE score >= %(hot)s)
       OR EXISTS (SELECT FROM {scores} AS known WHERE known.lead_id = arrived.lead_id))
      AND NOT EXISTS (SELECT FROM {events} AS sent WHERE sent.event_id = arrived.event_id
                      AND (sent.query_id, sent.batch_id) <> (%(query)s, %(batch)s))
    ORDER BY lead_id, event_time DESC, position DESC, event_id DESC
    ON CONFLICT (lead_id) DO UPDATE SET
        event_id = excluded.event_id, event_time = excluded.event_time, origin = excluded.origin,
        position = excluded.position, score = excluded.score, probability = excluded.probability,
        prediction = excluded.prediction, grade = excluded.grade, model_version = excluded.model_version,
        scored_at = excluded.scored_at, label = excluded.label, reasons = excluded.reasons
    WHERE (excluded.event_time, excluded.position, excluded.event_id) > (held.event_time, held.position, held.event_id)
      AND excluded.event_id <> held.event_id
       OR excluded.event_id = held.event_id AND excluded.score >= %(hot)s AND held.score < %(hot)s
"""
