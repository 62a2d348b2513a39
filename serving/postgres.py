"""Scored events in PostgreSQL, exactly once: the batch's ledger entry, its events and its scores in one transaction."""

import threading
from dataclasses import dataclass

from pydantic import BaseModel, Field
from pyspark.sql import DataFrame

from features.contract import Contract
from serving.errors import ServingError
from serving.retries import Patience


class DatabaseRefused(ServingError):
    """PostgreSQL could not be reached or did not take a batch."""


class PostgresOptions(BaseModel, frozen=True, extra="forbid"):
    """The database and its tables. The password comes from PGPASSWORD or PGPASSFILE, never from here."""

    dsn: str = Field(min_length=1, description="postgresql://user@host:port/database?sslmode=..., without a password")
    events_table: str = Field("scored_events", description="one row per event id; may name a schema: crm.events")
    scores_table: str = Field("lead_scores", description="one row per lead: its newest score")
    ledger_table: str = Field("scored_batches", description="one row per query and micro-batch")
    hot: float = Field(70, ge=0, le=100, description="smallest score that is written; 0: every event")
    patience: Patience = Field(Patience(), description="how long a batch is tried while the server is away")


@dataclass
class PostgresSink:
    """Writes scored events and the current score of every lead; idempotent by query id, batch number and event id."""

    options: PostgresOptions
    contract: Contract
    query: str
    stop: threading.Event | None = None

    def prepare(self) -> None:
        """Connect and make the tables that are missing; DatabaseRefused where that fails."""
        raise NotImplementedError

    def write(self, batch: DataFrame, number: int) -> int:
        """Write batch `number`; how many of its events were new."""
        raise NotImplementedError
