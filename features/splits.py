"""Train and test by hash, so that a split depends on the leads and the seed alone, not on partitions or order."""

from dataclasses import dataclass
from enum import StrEnum

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Contract
from features.errors import FeaturesError

GROUP = "lead_group"
AGE = "__age"
_PARTS = 100  # that ages are told in
_STEPS = 1_000_003


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
    it is met exactly up to ties by `random` and `newest`, and in expectation by `grouped`.
    """
    grouped = with_group(leads, contract)
    if how is Split.GROUPED:
        is_test = _share_of(F.col(GROUP), seed) < F.lit(test_share)
        return TrainTest(grouped.where(~is_test), grouped.where(is_test))
    rank = F.col(contract.order.name) if how is Split.NEWEST else _share_of(F.col(contract.id.name), seed)
    ranked = grouped.withColumn("__rank", rank.cast("double"))
    cut = ranked.select(F.expr(f"percentile(__rank, {1 - test_share})")).first()
    is_test = F.col("__rank") > F.lit(cut[0] if cut else None)
    return TrainTest(ranked.where(~is_test).drop("__rank"), ranked.where(is_test).drop("__rank"))


def age_of(leads: DataFrame, order: str | None) -> Column:
    """The share of the leads that came later by the field `order`, 0 (the newest) to 1, in hundredths.

    One job over the leads. A lead without an order is as old as can be; without an order field all are the newest.
    """
    if order is None:
        return F.lit(0.0)
    came = F.col(order).cast("double")
    shares = [part / _PARTS for part in range(1, _PARTS)]
    edges = leads.select(came.alias(AGE)).approxQuantile(AGE, shares, 1 / (10 * _PARTS))
    later = F.size(F.filter(F.array(*map(F.lit, edges)), lambda edge: edge >= came)) if edges else F.lit(0)
    return F.when(came.isNull(), 1.0).otherwise(later / _PARTS)


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


def _share_of(key: Column, seed: int) -> Column:
    """A number in [0, 1) that is uniform over keys."""
    return F.pmod(F.xxhash64(key, F.lit(seed)), F.lit(_STEPS)) / F.lit(float(_STEPS))
