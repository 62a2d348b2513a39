"""Scored events in PostgreSQL, exactly once: the batch's ledger entry, its events and its scores in one transaction."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import psycopg
import psycopg.conninfo
from pydantic import BaseModel, Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Contract
from serving.errors import ServingError, StopAsked
from serving.postgres_tables import STAGED, Dsn, Tables, stage
from serving.retries import Patience

Result = TypeVar("Result")
# An index entry of PostgreSQL holds at most about 2,700 bytes; a character takes up to four.
_MOST_ID = 600
_TIME = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
_BOUND_LOCKS = "select set_config('lock_timeout', %s, false) where current_setting('lock_timeout') = '0'"
# A server that another took over from answers, and only reads.
_PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
# What libpq says where another try would be answered in the same way; it gives no code for it.
_FINAL = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "certificate",
    "server does not support SSL",
)


class DatabaseRefused(ServingError):
    """PostgreSQL could not be reached or did not take a batch."""


class PostgresOptions(BaseModel, frozen=True, extra="forbid"):
    """The database and its tables. The password comes from PGPASSWORD or PGPASSFILE, never from here."""

    dsn: Dsn = Field(min_length=1, description="postgresql://user@host:port/database?sslmode=..., without a password")
    tables: Tables = Field(Tables(), description="the tables; made where they are missing")
    hot: float = Field(70, ge=0, le=100, description="smallest score of an event that is written; 0: every event")
    patience: Patience = Field(Patience(), description="how long a batch is tried while the server is away")
    connect_seconds: int = Field(10, ge=2, description="most seconds until a connection stands")
    answer_seconds: int = Field(30, ge=1, description="most seconds until a packet is acknowledged or a lock is given")

    def connect(self) -> "psycopg.Connection[Any]":
        """A connection that does not wait for ever for a server that is gone, or for a lock that another holds.

        What the address, or the server for its user, says of these waits counts.
        """
        waits = {
            "connect_timeout": self.connect_seconds,
            "tcp_user_timeout": self.answer_seconds * 1000,
            "keepalives_idle": self.answer_seconds,
        }
        given = psycopg.conninfo.conninfo_to_dict(self.dsn)
        left: dict[str, Any] = {name: value for name, value in waits.items() if name not in given}
        connection = psycopg.connect(
            self.dsn,
            autocommit=True,
            application_name="lead-scoring",
            client_encoding="UTF8",  # another may lack what a lead's id holds
            **left,
        )
        connection.execute(_BOUND_LOCKS, [f"{self.answer_seconds}s"])
        return connection


@dataclass
class PostgresSink:
    """Writes scored events and the newest score of every lead; idempotent by query id, batch number and event id.

    An event is there once, however often it arrives, with its first score. A batch that is repeated adds what it did
    not hold before: a version or a contract that was changed between the two may find other events good, or hot.
    The newest score of a lead is that of its newest event (event time, then position); a lead that was hot is also
    updated by events that are not. The rows of a micro-batch go through the driver, one partition at a time.
    """

    options: PostgresOptions
    contract: Contract
    query: str
    stop: threading.Event | None = None
    observes: ClassVar[bool] = False  # an iterator reports its observation when it begins
    cached: ClassVar[bool] = True  # and takes one partition after the other
    _connection: "psycopg.Connection[Any] | None" = field(default=None, repr=False)

    def prepare(self) -> None:
        """Connect and make the tables that are missing; DatabaseRefused or OtherTables where that fails."""
        if self.contract.id.max_length > _MOST_ID:
            raise DatabaseRefused(
                f"{self.contract.id.name} may have {self.contract.id.max_length} characters by the contract; "
                f"PostgreSQL can hold an index of at most {_MOST_ID}. Lower its max_length."
            )
        self._patiently(lambda: self.options.tables.create(self._open()), "its tables could not be made")

    def write(self, batch: DataFrame, number: int) -> int:
        """Write batch `number`; how many of its events were new. DatabaseRefused once patience is at its end.

        StopAsked where the server was away when `stop` was set.
        """
        rows = batch.where("reason is null").select(*self._columns(batch.columns))
        return self._patiently(lambda: self._write(rows, number), f"batch {number} could not be written")

    def newest(self) -> int | None:
        """Number of the newest batch of the query in the ledger; None where there is none."""
        tables = self.options.tables
        return self._patiently(lambda: tables.newest_batch(self._open(), self.query), "its ledger could not be read")

    def close(self) -> None:
        """Leave the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _write(self, rows: DataFrame, number: int) -> int:
        connection, tables = self._open(), self.options.tables
        with connection.transaction():
            tables.begin_batch(connection, self.query, number)
            stage(connection)
            with connection.cursor() as cursor, cursor.copy("COPY incoming FROM STDIN") as copy:
                for row in rows.toLocalIterator():
                    copy.write_row(row)
            return tables.merge(connection, self.options.hot, self.query, number)

    def _columns(self, carried: Sequence[str]) -> list[Column]:
        """The staged columns, times as text with their zone: Python's own would lose it; null for reasons not told."""
        names = {"lead_id": self.contract.id.name, "label": self.contract.label.name}

        def column(name: str, kind: str) -> Column:
            if kind == "jsonb":
                return F.to_json(name) if name in carried else F.lit(None).cast("string")
            return F.date_format(name, _TIME) if kind == "timestamptz" else F.col(names.get(name, name))

        return [column(name, kind).alias(name) for name, kind in STAGED.items()]

    def _open(self) -> "psycopg.Connection[Any]":
        if self._connection is None or self._connection.closed:
            self._connection = self.options.connect()
        return self._connection

    def _patiently(self, action: Callable[[], Result], what: str) -> Result:
        try:
            for attempt in self.options.patience.retrying(_may_pass, self.stop):
                with attempt:
                    try:
                        return action()
                    except psycopg.Error:
                        self.close()
                        raise
        except psycopg.Error as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            if self.stop is not None and self.stop.is_set() and _may_pass(error):
                raise StopAsked(
                    f"asked to stop while PostgreSQL did not answer: {what} ({said}); it is repeated at the next start."
                ) from None
            raise DatabaseRefused(
                f"PostgreSQL: {what} ({said}). Check the server, PGPASSWORD or PGPASSFILE, and the rights of the user; "
                "what was not written will be at the next start."
            ) from None
        raise AssertionError("tenacity ends by a result or an error")


def _may_pass(error: BaseException) -> bool:
    """Whether a fault may be gone at another try: the server is away, full or busy, or saw a dead-lock."""
    return isinstance(error, _PASSING) and not any(words in str(error) for words in _FINAL)
