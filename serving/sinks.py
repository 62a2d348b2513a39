"""Where scored leads go: the console and Parquet folders, one per micro-batch."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from features.storage import Storage, join
from serving.errors import ServingError

STAGING = "_staging"
SHOWN = 20


class UnknownSink(ServingError):
    """A sink was asked for that does not exist, or none."""


class SinkName(StrEnum):
    """The sinks that a query may write to."""

    CONSOLE = "console"
    PARQUET = "parquet"


class Sink(Protocol):
    """Takes the scored leads of one micro-batch, and must leave the same when it is given the batch again."""

    def write(self, batch: DataFrame, number: int) -> int:
        """Write batch `number`; the number of its rows."""


@dataclass(frozen=True)
class ParquetSink:
    """Writes batch 12 of a query to OUTPUT/query=ID/batch=000012/, replacing what an interrupted try had left.

    A batch is written aside, under a name of its own, and renamed: a reader never sees half of it, and a
    killed process that still writes for a moment cannot touch the files of the one that took over.
    """

    storage: Storage
    output: str
    query: str

    def write(self, batch: DataFrame, number: int) -> int:
        """Write batch `number`; the number of its rows."""
        rows = Observation()
        staged = join(self.output, STAGING, f"{number:06d}-{uuid.uuid4().hex}")
        batch.observe(rows, F.count(F.lit(1)).alias("rows")).write.parquet(staged)
        self.storage.delete(self.folder(number))
        self.storage.move(staged, self.folder(number))
        return int(rows.get["rows"])

    def folder(self, number: int) -> str:
        """Where a batch lies."""
        return join(self.output, f"query={self.query}", f"batch={number:06d}")

    def clear_staging(self) -> None:
        """Remove what killed processes had begun to write."""
        self.storage.delete(join(self.output, STAGING))


@dataclass(frozen=True)
class ConsoleSink:
    """Shows up to 20 scored leads of every batch as a table, best first, with the batch's number and row count."""

    console: Console

    def write(self, batch: DataFrame, number: int) -> int:
        """Show batch `number`; the number of its rows."""
        seen = Observation()
        counted = batch.observe(seen, F.count(F.lit(1)).alias("rows"))
        best = counted.orderBy(F.desc("score"), batch.columns[0]).limit(SHOWN).collect()
        rows = int(seen.get["rows"])
        table = Table(title=f"batch {number}: {len(best)} of {rows:,} scored leads", title_justify="left")
        for column in batch.columns:
            table.add_column(column, overflow="fold")
        for row in best:
            table.add_row(*(_shown(value) for value in row))
        self.console.print(table)
        return rows


def parse_sinks(text: str) -> tuple[SinkName, ...]:
    """Read a comma-separated list of sinks, such as "console,parquet"; UnknownSink names those that exist."""
    names = [word.strip().lower() for word in text.split(",") if word.strip()]
    wrong = [name for name in names if name not in list(SinkName)]
    if wrong or not names:
        raise UnknownSink(
            f"sink {text!r} names {', '.join(wrong) or 'nothing'}; give a comma-separated list of "
            f"{', '.join(SinkName)}, such as sink=console,parquet."
        )
    return tuple(name for name in SinkName if name in names)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).split(".")[0]
