"""A look at leads in Spark: a few jobs over all leads, each with a bounded number of result rows."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from evaluation.exploration import (
    Categories,
    Exploration,
    FieldProfile,
    NothingToExplore,
    Numbers,
    Period,
    Rate,
    Repeats,
    Written,
    is_number,
    word_of,
)
from evaluation.explore_association import associate
from features.contract import Contract, LeadField
from features.splits import GROUP, with_group

TOP_WORDS = 12
BINS = 20
PERIODS = 20
_SHARES = (0.0, 0.25, 0.5, 0.75, 0.99, 1.0)


def explore(leads: DataFrame, contract: Contract, written: tuple[Written, ...] = ()) -> Exploration:
    """Look at labelled leads (the contract's kept columns); cache them before, as several jobs read them.

    NothingToExplore where there are no leads.
    """
    label = contract.label.name
    every = _rate(leads.agg(*_counts(label)).first())
    if not every.leads:
        raise NothingToExplore("there are no leads to look at; prepare some, or name a CSV by -P csv=PATH.")
    profiles = profile(leads, contract)
    words = categories(leads, [f for f in contract.features if not is_number(f)], label)
    return Exploration(
        label=label,
        order=contract.order.name,
        score_at=contract.score_at.name.lower(),
        all=every,
        profiles=profiles,
        categories=words,
        numbers=numbers(leads, [f for f in contract.features if is_number(f)], label, profiles),
        periods=periods(leads, contract),
        repeats=repeats(leads, contract),
        association=associate(leads, contract, words, profiles),
        written=written,
    )


def profile(leads: DataFrame, contract: Contract) -> tuple[FieldProfile, ...]:
    """Answers, their number and their range for every feature field, in one job."""
    label = F.col(contract.label.name)
    asked = [F.count(F.lit(1)).alias("n"), F.sum(label).alias("won")]
    for field in contract.features:
        value = F.col(field.name)
        asked += [
            F.count(value).alias(f"{field.name}__answered"),
            F.sum(F.when(value.isNotNull(), label)).alias(f"{field.name}__won"),
            F.approx_count_distinct(value).alias(f"{field.name}__distinct"),
        ]
        if is_number(field):
            asked.append(F.percentile_approx(value, list(_SHARES), 10_000).alias(f"{field.name}__quantiles"))
    found = leads.agg(*asked).first()
    return tuple(_profile(field, contract, found.asDict() if found else {}) for field in contract.features)


def _profile(field: LeadField, contract: Contract, found: Mapping[str, object]) -> FieldProfile:
    def number(name: str) -> int:
        return int(str(found.get(name) or 0))

    answered = Rate(number(f"{field.name}__answered"), number(f"{field.name}__won"))
    quantiles = found.get(f"{field.name}__quantiles")
    return FieldProfile(
        name=field.name,
        source=field.source,
        kind=str(field.kind),
        known_at=word_of(field),
        unit=field.unit,
        late=field.known_at > contract.score_at,
        missing=Rate(number("n") - answered.leads, number("won") - answered.converted),
        answered=answered,
        distinct=number(f"{field.name}__distinct"),
        quantiles=tuple(quantiles) if isinstance(quantiles, list) else (),
    )


def categories(
    leads: DataFrame, fields: Sequence[LeadField], label: str, top: int = TOP_WORDS
) -> tuple[Categories, ...]:
    """Conversion by the `top` most frequent words of every field, in one job; ties go by the alphabet."""
    if not fields:
        return ()
    pairs = F.array(*(F.struct(F.lit(f.name).alias("field"), F.col(f.name).alias("word")) for f in fields))
    counted = leads.select(F.explode(pairs).alias("p"), label).groupBy("p.field", "p.word").agg(*_counts(label))
    by_size = Window.partitionBy("field", F.col("word").isNull()).orderBy(F.desc("n"), "word")
    place = F.when(F.col("word").isNull(), -1).otherwise(F.least(F.row_number().over(by_size), F.lit(top + 1)))
    rows = (
        counted.withColumn("place", place)
        .groupBy("field", "place")
        .agg(F.sum("n").alias("n"), F.sum("won").alias("won"), F.min("word").alias("word"))
        .orderBy("field", "place")
        .collect()
    )
    return tuple(_categories(f.name, [r for r in rows if r["field"] == f.name], top) for f in fields)


def _categories(name: str, rows: Sequence[Row], top: int) -> Categories:
    words = tuple((r["word"], _rate(r)) for r in rows if 1 <= r["place"] <= top)
    other, missing = (next((_rate(r) for r in rows if r["place"] == at), Rate(0, 0)) for at in (top + 1, -1))
    return Categories(name, words, other, missing)


def numbers(
    leads: DataFrame, fields: Sequence[LeadField], label: str, profiles: Sequence[FieldProfile]
) -> tuple[Numbers, ...]:
    """Conversion by about 20 bins of round width up to the 99th percentile of every number, in one job."""
    ranges = {p.name: p.quantiles for p in profiles if p.quantiles}
    edges = {f.name: round_edges(ranges[f.name][0], ranges[f.name][-2]) for f in fields if f.name in ranges}
    if not edges:
        return ()
    pairs = F.array(
        *(F.struct(F.lit(name).alias("field"), _bin(F.col(name), found).alias("bin")) for name, found in edges.items())
    )
    rows = leads.select(F.explode(pairs).alias("p"), label).groupBy("p.field", "p.bin").agg(*_counts(label)).collect()
    by_field: dict[str, dict[int | None, Rate]] = defaultdict(dict)
    for row in rows:
        by_field[row["field"]][row["bin"]] = _rate(row)
    nobody = Rate(0, 0)
    return tuple(
        Numbers(
            f.name,
            f.unit,
            edges[f.name],
            tuple(by_field[f.name].get(i, nobody) for i in range(len(edges[f.name]))),
            by_field[f.name].get(None, nobody),
        )
        for f in fields
        if f.name in edges
    )


def round_edges(low: float, high: float, bins: int = BINS) -> tuple[float, ...]:
    """Lower edges of at most `bins` + 2 bins between two values, whose width is 1, 2, 2.5 or 5 times a power of 10."""
    wanted = (high - low) / bins
    if not wanted > 0:
        return (low,)
    power = 10.0 ** math.floor(math.log10(wanted))
    width = next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= wanted * 0.999)
    first, last = math.floor(low / width), math.floor(high / width)
    return tuple(round(i * width, 10) for i in range(first, last + 1))


def periods(leads: DataFrame, contract: Contract, count: int = PERIODS) -> tuple[Period, ...]:
    """Conversion in periods of about equal size along the order field, the oldest first."""
    order, label = F.col(contract.order.name), contract.label.name
    cuts = leads.agg(F.percentile_approx(order, [i / count for i in range(1, count)], 10_000).alias("at")).first()
    inner = sorted(set(cuts["at"] if cuts else []))
    period = F.size(F.filter(F.array(*(F.lit(c) for c in inner)), lambda c: c < order)) if inner else F.lit(0)
    rows = (
        leads.groupBy(period.alias("period"))
        .agg(*_counts(label), F.min(order).alias("first"), F.max(order).alias("last"))
        .orderBy("period")
        .collect()
    )
    return tuple(Period(r["first"], r["last"], _rate(r)) for r in rows)


def repeats(leads: DataFrame, contract: Contract) -> Repeats:
    """How many leads repeat each other in every feature field."""
    label = F.col(contract.label.name)
    groups = with_group(leads, contract).groupBy(GROUP).agg(F.count(F.lit(1)).alias("n"), F.sum(label).alias("won"))
    found = (
        groups.where("n > 1")
        .agg(
            F.coalesce(F.sum(F.col("n") - 1), F.lit(0)).alias("rows"),
            F.count(F.lit(1)).alias("groups"),
            F.count_if(F.col("won").between(F.lit(1), F.col("n") - 1)).alias("mixed"),
            F.coalesce(F.max("n"), F.lit(1)).alias("largest"),
        )
        .first()
    )
    return Repeats(**found.asDict()) if found else Repeats(0, 0, 0, 1)


def _bin(value: Column, edges: Sequence[float]) -> Column:
    """Number of the bin, 0 on; null stays null."""
    width = edges[1] - edges[0] if len(edges) > 1 else 1.0
    place = F.floor((value - F.lit(edges[0])) / F.lit(width) + F.lit(1e-9)).cast("int")
    return F.when(value.isNotNull(), F.greatest(F.lit(0), F.least(place, F.lit(len(edges) - 1))))


def _counts(label: str) -> tuple[Column, Column]:
    return F.count(F.lit(1)).alias("n"), F.coalesce(F.sum(F.col(label)), F.lit(0)).cast("long").alias("won")


def _rate(row: Row | None) -> Rate:
    return Rate(int(row["n"]), int(row["won"])) if row else Rate(0, 0)
