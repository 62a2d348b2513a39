"""Train and test by hash, so that a split depends on the leads and the seed alone, not on partitions or order."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from features.contract import Contract
from features.errors import FeaturesError

GROUP = "lead_group"
_STEPS = 1_000_003
LARGE, MOST_LARGE = 10, 1000


class EmptySplit(FeaturesError):
    """One side of a split holds no leads, or only one class."""


class Split(StrEnum):
    """How test leads are chosen."""

    GROUPED = "grouped"
    RANDOM = "random"
    NEWEST = "newest"


@dataclass(frozen=True)
class TrainTest:
    """Two disjoint DataFrames of leads; both carry `lead_group` (bigint)."""

    train: DataFrame
    test: DataFrame


def with_group(leads: DataFrame, contract: Contract) -> DataFrame:
    """Add `lead_group` (bigint): equal for leads that repeat each other in all features (ids and label aside)."""
    return leads.withColumn(GROUP, F.xxhash64(*(F.col(f.name) for f in contract.features)))


def split_leads(leads: DataFrame, contract: Contract, how: Split, test_share: float, seed: int) -> TrainTest:
    """Split leads into train and test.

    `grouped` keeps leads that repeat each other on one side; `random` draws single leads (repeats leak
    through it); `newest` tests on the leads with the highest order field. `test_share` lies in (0, 1);
    it is met exactly up to ties by `random` and `newest`, and in expectation by `grouped`, which places the largest
    groups so that both sides convert about equally often.
    """
    grouped = with_group(leads, contract)
    if how is Split.GROUPED:
        is_test = _share_of(F.col(GROUP), seed) < F.lit(test_share)
        large = _placed(_large_groups(grouped, contract.label.name), test_share)
        for side in (False, True):
            here = [group for group, tested in large.items() if tested is side]
            is_test = F.when(F.col(GROUP).isin(here), F.lit(side)).otherwise(is_test)
        return TrainTest(grouped.where(~is_test), grouped.where(is_test))
    rank = F.col(contract.order.name) if how is Split.NEWEST else _share_of(F.col(contract.id.name), seed)
    ranked = grouped.withColumn("__rank", rank.cast("double"))
    cut = ranked.select(F.expr(f"percentile(__rank, {1 - test_share})")).first()
    is_test = F.col("__rank") > F.lit(cut[0] if cut else None)
    return TrainTest(ranked.where(~is_test).drop("__rank"), ranked.where(is_test).drop("__rank"))


def fold_of(folds: int, seed: int) -> Column:
    """Fold number 0 .. folds-1 (int) by `lead_group`: repeats of a lead share a fold."""
    return F.pmod(F.xxhash64(F.col(GROUP), F.lit(seed)), F.lit(folds)).cast("int")


def file_number(contract: Contract, files: int, seed: int) -> Column:
    """File number 0 .. files-1 (int) of a lead by its id."""
    return F.pmod(F.xxhash64(F.col(contract.id.name), F.lit(seed)), F.lit(files)).cast("int")


def content_hash(leads: DataFrame) -> Column:
    """Aggregate: a hash of all rows (16 hex digits) that depends on neither order nor partitions.

    The sum keeps repeats apart, which an exclusive-or would cancel.
    """
    row = F.xxhash64(*(F.col(c) for c in sorted(leads.columns))).cast("decimal(38,0)")
    return F.lower(F.lpad(F.hex(F.xxhash64(F.sum(row), F.count(F.lit(1)))), 16, "0"))


def _large_groups(grouped: DataFrame, label: str) -> list[Row]:
    """Groups that chance would place badly: of ten leads and more, the largest first, at most a thousand."""
    sizes = grouped.groupBy(GROUP).agg(F.count(F.lit(1)).alias("leads"), F.sum(label).alias("converted"))
    return sizes.where(F.col("leads") >= LARGE).orderBy(F.desc("leads"), GROUP).limit(MOST_LARGE).collect()


def _placed(groups: Sequence[Row], test_share: float) -> dict[int, bool]:
    """Whether each group is tested on: the side that leaves leads of both classes nearest to their shares."""
    placed: dict[int, bool] = {}
    over = [0.0, 0.0]  # leads of each class that the test side has above its share
    for group in groups:
        won = float(group["converted"] or 0)
        counts = (group["leads"] - won, won)
        missed = [[o + n * (side - test_share) for o, n in zip(over, counts, strict=True)] for side in (0, 1)]
        tested = sum(m * m for m in missed[1]) < sum(m * m for m in missed[0])
        placed[group[GROUP]], over = tested, missed[tested]
    return placed


def _share_of(key: Column, seed: int) -> Column:
    """A number in [0, 1) that is uniform over keys."""
    return F.pmod(F.xxhash64(key, F.lit(seed)), F.lit(_STEPS)) / F.lit(float(_STEPS))
