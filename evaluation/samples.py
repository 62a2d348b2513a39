"""Bounded samples of leads by group: what is measured closely is of a stated size, however many leads there are."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.splits import GROUP

_STEPS = 1_000_003


@dataclass(frozen=True)
class Bounded:
    """Leads, at most about as many as asked for, and out of how many they were taken."""

    leads: DataFrame
    rows: int  # leads expected in the sample; exact where all were taken
    total: int

    @property
    def share(self) -> float:
        """Share of all leads that the sample holds."""
        return self.rows / self.total if self.total else 1.0


def bounded(leads: DataFrame, limit: int, total: int | None = None, seed: int = 0) -> Bounded:
    """All leads where there are at most `limit`, else whole groups of repeated leads by the hash of `lead_group`.

    A sample depends on the leads and the seed alone. It holds `limit` leads in expectation, and is counted from
    `total` where the caller knows it already.
    """
    total = leads.count() if total is None else total
    if total <= limit:
        return Bounded(leads, total, total)
    place = F.pmod(F.xxhash64(F.col(GROUP), F.lit(f"sample {seed}")), F.lit(_STEPS)) / F.lit(float(_STEPS))
    return Bounded(leads.where(place < F.lit(limit / total)), limit, total)
