"""The lake: scored events as Parquet, a folder per day and micro-batch, each event once for any reader."""

import uuid
from dataclasses import dataclass
from typing import ClassVar

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from features.storage import Storage, join
from serving.room import naming_a_full_disk

STAGING = "_staging"
DAY = "batch_date"
SUCCESS_MARK = "mapreduce.fileoutputcommitter.marksuccessfuljobs"


@dataclass(frozen=True)
class LakeSink:
    """Writes the scored rows of batch 12 to OUTPUT/batch_date=2026-11-25/query=ID/batch=000012/; a repeat replaces it.

    The day is when Spark planned the batch; it stands in the checkpoint before the batch runs and so stays the same
    when the batch is repeated, after midnight too (the column `batch_date` of `scored_events`, UTC). A batch is
    written aside and renamed: a reader never sees half of it. Refused rows and their two columns are left out.
    """

    storage: Storage
    output: str
    query: str
    observes: ClassVar[bool] = True
    cached: ClassVar[bool] = False

    def write(self, batch: DataFrame, number: int) -> int:
        """Write batch `number`; the number of its scored rows. A batch without any leaves no folder.

        NoRoom where the disk has no room for it: nothing of the batch is left there then.
        """
        staged = join(self.output, STAGING, f"{number:06d}-{uuid.uuid4().hex}")
        with naming_a_full_disk(self.storage, f"batch {number}", self.output, staged):
            return self._write(batch, number, staged)

    def folder(self, day: str, number: int) -> str:
        """Where a batch of a day (`batch_date=2026-11-25`) lies."""
        return join(self.output, day, f"query={self.query}", f"batch={number:06d}")

    def newest(self) -> int | None:
        """Number of the newest batch that the query has written; None where there is none."""
        days = [e for e in self.storage.list(self.output) if e.name.startswith(f"{DAY}=")]
        # Batches are planned one after the other: the newest lies in the last day that has any.
        for day in sorted(days, key=lambda entry: entry.name, reverse=True):
            batches = self.storage.list(join(day.uri, f"query={self.query}"))
            if batches:
                return max(int(entry.name.removeprefix("batch=")) for entry in batches)
        return None

    def clear_staging(self) -> None:
        """Remove what killed processes had begun to write."""
        self.storage.delete(join(self.output, STAGING))

    def _write(self, batch: DataFrame, number: int, staged: str) -> int:
        seen = Observation()
        scored = F.count_if(F.col("reason").isNull()).alias("rows")
        counted = batch.observe(seen, scored, F.min(DAY).cast("string").alias("day"))
        # The folder is moved when it is whole: no mark of that is needed in it.
        writer = counted.where("reason is null").drop("reason", "raw", DAY).write.option(SUCCESS_MARK, "false")
        writer.parquet(staged)
        found = seen.get
        folder = self.folder(f"{DAY}={found['day']}", number)
        if found["day"]:
            self.storage.delete(folder)  # of an earlier try, also where all are refused now
        if found["rows"]:
            self.storage.move(staged, folder)
        else:
            self.storage.delete(staged)
        return int(found["rows"])
