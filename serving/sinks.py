"""What every sink of scored leads is, and the console. The others: serving.lake, kafka_sink, postgres, webhook."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serving.compiled.reasons import short
from serving.errors import ServingError

log = logging.getLogger(__name__)
SHOWN = 20
# What only machines read.
HIDDEN = ("event_id", "event_time", "origin", "position", "batch_date", "unknown_categories", "reason", "raw")


class UnknownSink(ServingError):
    """A sink was asked for that does not exist, or none."""


class Sink(Protocol):
    """Takes the scored leads of one micro-batch, and must leave the same when it is given the batch again.

    `observes` says that `write` runs every row through one action, once, of a kind that reports Spark's observations: a
    batch is counted on its way there. `cached` says that a batch is scored into memory first, even for this sink alone.
    """

    observes: ClassVar[bool]
    cached: ClassVar[bool]

    def write(self, batch: DataFrame, number: int) -> object:
        """Write batch `number`; what it returns is the sink's own to say."""


@dataclass(frozen=True)
class ConsoleSink:
    """Shows up to 20 scored leads of every batch as a table, best first, with the batch's number and row count."""

    console: Console
    observes: ClassVar[bool] = True
    cached: ClassVar[bool] = False

    def write(self, batch: DataFrame, number: int) -> int:
        """Show batch `number`; the number of its rows."""
        seen = Observation()
        scored = batch.where("reason is null").drop(*HIDDEN)
        counted = scored.observe(seen, F.count(F.lit(1)).alias("rows"))
        best = counted.orderBy(F.desc("score"), scored.columns[0]).limit(SHOWN).collect()
        rows = int(seen.get["rows"])
        table = Table(title=f"batch {number}: {len(best)} of {rows:,} scored leads", title_justify="left")
        for column in scored.columns:
            table.add_column(column, overflow="fold")
        for row in best:
            table.add_row(*(Text(_shown(value)) for value in row))  # words of a lead are no markup
        try:
            self.console.print(table)
        except (OSError, SystemExit) as error:  # rich ends the process where what it prints to is gone
            log.warning("batch %d is not shown: the console takes nothing (%s)", number, type(error).__name__)
        return rows


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return short(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return "" if value is None else "".join(c for c in str(value) if c.isprintable())
