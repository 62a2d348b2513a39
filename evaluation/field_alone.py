"""What every field of a lead knows of the label by itself: measured in Spark, one row per field comes back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.contract import Contract, Kind, LeadField
from features.splits import fold_of

FOLDS, BINS = 5, 20
# Leads' worth of the base rate that a category starts from: a word met once says next to nothing.
SMOOTHING = 10.0
_MISSING = "\0missing"


@dataclass(frozen=True)
class FieldAlone:
    """One field against the label; shares and rates lie in [0, 1], areas in [0.5, 1] whichever way the field points.

    `auc` is the larger of two areas: of the out-of-fold share of converted leads among those with the same word
    (a number: in the same twentieth), and of the number itself. `auc_error` is its standard error, `auc_missing` the
    area of whether the field is filled in at all. `copies_id` and `copies_order` are the shares of filled leads in
    which the field says what the id or order field says; `follows_order` is the absolute correlation with the order
    field.
    """

    name: str
    kind: str
    known_at: str
    leads: int
    won: int
    filled: int
    won_filled: int
    auc: float
    auc_error: float
    auc_missing: float
    distinct: int
    copies_id: float
    copies_order: float
    follows_order: float

    @property
    def rate_filled(self) -> float | None:
        """Share of converted leads among those in which the field is filled in; None where it never is."""
        return self.won_filled / self.filled if self.filled else None

    @property
    def rate_missing(self) -> float | None:
        """Share of converted leads among those in which the field is empty; None where it never is."""
        empty = self.leads - self.filled
        return (self.won - self.won_filled) / empty if empty else None

    def as_dict(self) -> dict[str, Any]:
        """The numbers and both rates as JSON-like data."""
        return {**asdict(self), "rate_filled": self.rate_filled, "rate_missing": self.rate_missing}


def fields_alone(leads: DataFrame, contract: Contract, fields: Sequence[LeadField], seed: int = 0) -> list[FieldAlone]:
    """Measure each of `fields`, and the id and order fields, alone; in the order given, id and order last.

    `leads` carries the contract's kept columns and `lead_group`; it should be bounded and cached, as it is read
    four times. Repeats of a lead share a fold, so that none is judged by its own repeat.
    """
    asked = [*fields, contract.id, contract.order]
    long = _long(leads, contract, asked, seed)
    measured = {row["field"]: row for row in _facts(long).collect()}
    areas: dict[str, float] = {}
    for row in _areas(long).collect():
        # A number may point either way; an out-of-fold share below one half is chance, not knowledge.
        either_way = 1 - row["auc"] if row["valued"] else 0.5
        areas[row["field"]] = max(areas.get(row["field"], 0.5), row["auc"], either_way)
    return [_alone(f, measured[f.name], areas.get(f.name, 0.5)) for f in asked]


def auc_by(cells: DataFrame, key: str) -> DataFrame:
    """Area under the ROC curve per `key`: columns `key` and `auc`; ties count one half.

    `cells` holds `key`, a sortable `score`, and the converted (`won`) and other leads (`lost`) with that score, one
    row per key and score. A key without both classes has no area.
    """
    below = Window.partitionBy(key).orderBy("score").rowsBetween(Window.unboundedPreceding, -1)
    beaten = F.coalesce(F.sum("lost").over(below), F.lit(0)) + F.col("lost") / 2
    pairs = cells.select(key, "won", "lost", (F.col("won") * beaten).alias("beaten")).groupBy(key)
    summed = pairs.agg(F.sum("beaten").alias("beaten"), F.sum("won").alias("won"), F.sum("lost").alias("lost"))
    both = summed.where((F.col("won") > 0) & (F.col("lost") > 0))
    return both.select(key, (F.col("beaten") / F.col("won") / F.col("lost")).alias("auc"))


def auc_error(auc: float, won: int, lost: int) -> float:
    """Standard error of an area from its size and the leads of each class (Hanley and McNeil 1982)."""
    if not (won and lost):
        return 0.5
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return math.sqrt((auc * (1 - auc) + (won - 1) * (q1 - auc**2) + (lost - 1) * (q2 - auc**2)) / (won * lost))


def _long(leads: DataFrame, contract: Contract, fields: Sequence[LeadField], seed: int) -> DataFrame:
    """One row per lead and field: field, word (what is compared), number, filled, label, fold, and the ids."""
    numeric = [f for f in fields if f.kind is Kind.NUMERIC]
    edges = _edges(leads, numeric)
    cells = [_cell(f, edges.get(f.name, [])) for f in fields]
    id_text, order = F.col(contract.id.name).cast("string"), F.col(contract.order.name).cast("double")
    return leads.select(
        F.col(contract.label.name).cast("int").alias("label"),
        fold_of(FOLDS, seed).alias("fold"),
        id_text.alias("id"),
        order.alias("order"),
        F.explode(F.array(*cells)).alias("cell"),
    ).select("label", "fold", "id", "order", "cell.*")


def _edges(leads: DataFrame, numeric: Sequence[LeadField]) -> dict[str, list[float]]:
    """Distinct inner twentieths of each numeric field."""
    if not numeric:
        return {}
    at = [i / BINS for i in range(1, BINS)]
    row = leads.agg(*(F.percentile_approx(f.name, at, 10_000).alias(f.name) for f in numeric)).first()
    return {f.name: sorted(set(row[f.name] or [])) for f in numeric} if row else {}


def _cell(field: LeadField, edges: Sequence[float]) -> Column:
    value = F.col(field.name)
    if field.kind is Kind.NUMERIC:
        bin_of = F.lit(0)
        for edge in edges:
            bin_of = bin_of + (value >= F.lit(edge)).cast("int")
        word, number = bin_of.cast("string"), value.cast("double")
    else:
        # Ids are compared as numbers where they are numbers, else by their letters.
        word = value.cast("string")
        number = value.cast("double") if field.kind is Kind.ORDER else F.expr(f"try_cast(`{field.name}` as double)")
    return F.struct(
        F.lit(field.name).alias("field"),
        F.lit(str(field.kind)).alias("kind"),
        F.coalesce(word, F.lit(_MISSING)).alias("word"),
        number.alias("number"),
        value.cast("string").alias("text"),
        value.isNotNull().alias("filled"),
    )


def _facts(long: DataFrame) -> DataFrame:
    """Counts per field, copies of the ids, correlation with the order field."""
    filled, same_order = F.col("filled"), F.abs(F.col("number") - F.col("order")) < 0.5
    same_id = (F.col("text") == F.col("id")) | (F.abs(F.col("number") - F.expr("try_cast(id as double)")) < 0.5)
    return long.groupBy("field").agg(
        F.count(F.lit(1)).alias("leads"),
        F.sum("label").alias("won"),
        F.sum(filled.cast("int")).alias("filled"),
        F.sum(F.when(filled, F.col("label")).otherwise(0)).alias("won_filled"),
        F.countDistinct("text").alias("distinct"),
        F.sum((filled & F.coalesce(same_id, F.lit(False))).cast("int")).alias("copies_id"),
        F.sum((filled & F.coalesce(same_order, F.lit(False))).cast("int")).alias("copies_order"),
        _correlation(F.col("number"), F.col("order")).alias("follows_order"),
    )


def _correlation(x: Column, y: Column) -> Column:
    """Aggregate: Pearson's correlation; null where one of them does not vary, for which Spark's `corr` is an error."""
    spreads = F.stddev_pop(F.when(y.isNotNull(), x)) * F.stddev_pop(F.when(x.isNotNull(), y))
    return F.try_divide(F.covar_pop(x, y), spreads)


def _areas(long: DataFrame) -> DataFrame:
    """Areas per field; two rows for a numeric field (the number, its twentieths)."""
    is_numeric = F.col("kind") == str(Kind.NUMERIC)
    is_id = F.col("kind").isin(str(Kind.ID), str(Kind.ORDER))
    number = F.when(F.col("number").isNotNull() & ~F.isnan("number"), F.col("number")).otherwise(0.0)
    text = F.when(is_id, F.col("text")).otherwise("")
    valued = long.where((is_numeric | is_id) & F.col("filled"))
    by_value = _cells(valued, F.struct(number.alias("number"), text.alias("text")))
    fold = Window.partitionBy("field", "word")
    base = Window.partitionBy("field")
    words = long.where(~is_id).groupBy("field", "word", "fold")
    counts = words.agg(F.sum("label").alias("won"), F.count(F.lit(1)).alias("n"))
    won, n = (F.sum(c).over(fold) - F.col(c) for c in ("won", "n"))
    prior = F.sum("won").over(base) / F.sum("n").over(base)
    # Rounding keeps equal shares equal, so that they count as ties.
    score = F.round((won + SMOOTHING * prior) / (n + SMOOTHING), 12)
    scored = counts.select("field", score.alias("score"), "won", (F.col("n") - F.col("won")).alias("lost"))
    by_word = scored.groupBy("field", "score").agg(F.sum("won").alias("won"), F.sum("lost").alias("lost"))
    valued_too = auc_by(by_value, "field").withColumn("valued", F.lit(True))
    return valued_too.unionByName(auc_by(by_word, "field").withColumn("valued", F.lit(False)))


def _cells(rows: DataFrame, score: Column) -> DataFrame:
    lost = 1 - F.col("label")
    return rows.groupBy("field", score.alias("score")).agg(F.sum("label").alias("won"), F.sum(lost).alias("lost"))


def _alone(field: LeadField, row: Any, auc: float) -> FieldAlone:
    leads, won, filled, won_filled = row["leads"], row["won"], row["filled"], row["won_filled"]
    lost = leads - won
    # The two shares of leads in which the field is filled in, among converted and other leads.
    apart = abs(won_filled / won - (filled - won_filled) / lost) if won and lost else 0.0
    return FieldAlone(
        name=field.name,
        kind=str(field.kind),
        known_at=field.known_at.name.lower(),
        leads=leads,
        won=won,
        filled=filled,
        won_filled=won_filled,
        auc=auc,
        auc_error=auc_error(auc, won, lost),
        auc_missing=0.5 + apart / 2,
        distinct=row["distinct"],
        copies_id=row["copies_id"] / filled if filled else 0.0,
        copies_order=row["copies_order"] / filled if filled else 0.0,
        follows_order=abs(row["follows_order"] or 0.0),
    )
