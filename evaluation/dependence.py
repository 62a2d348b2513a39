"""Partial dependence: how the mean score moves with one field, the other fields as they are; and interactions.

Friedman 2001, "Greedy function approximation"; the H statistic of Friedman and Popescu 2008, "Predictive learning
via rule ensembles". Every curve and statistic comes from one Spark job over a bounded sample crossed with a grid.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.overrides import variant_schema, with_changes
from evaluation.samples import bounded
from features.contract import Kind, LeadField
from features.stages import served_probability

LEADS, POINTS, WORDS = 400, 12, 8
PAIRED_FIELDS, PAIRED_LEADS = 4, 50


@dataclass(frozen=True)
class Point:
    """The mean score (0 to 1) when every sampled lead has this value, the middle 80% of the scores, and its share."""

    value: float | str | None
    mean: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class Dependence:
    """Partial dependence on one field: numbers ascending, words from the highest mean down."""

    field: str
    numeric: bool
    unit: str
    points: tuple[Point, ...]

    @property
    def span(self) -> float:
        """Largest mean less smallest: how far the field by itself can move the mean score."""
        means = [p.mean for p in self.points]
        return max(means) - min(means) if means else 0.0


@dataclass(frozen=True)
class Interaction:
    """How much of two fields' joint effect is more than the sum of their own.

    `h` is Friedman's H, 0 (none) to about 1 (all of it); `strength` the root mean square of the part that is joint, in
    points of probability: a large H of a small effect is small here.
    """

    first: str
    second: str
    h: float
    strength: float


@dataclass(frozen=True)
class DependenceReport:
    """Curves of the top fields and interactions among the first of them, strongest first."""

    leads: int
    curves: tuple[Dependence, ...]
    paired_leads: int
    interactions: tuple[Interaction, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data."""
        return asdict(self)


def dependence_report(
    model: PipelineModel, leads: DataFrame, fields: Sequence[LeadField], top: Sequence[str], seed: int = 0
) -> DependenceReport:
    """Curves of the fields named in `top` over 400 leads; interactions among the first 4 of them over 50 leads.

    `fields` are all that the model sees; `leads` carries them and `lead_group`. About 6 x 12 x 400 + 50 x 50 x 10
    rows are scored.
    """
    by_name = {f.name: f for f in fields}
    asked, paired = [by_name[name] for name in top], [by_name[name] for name in top[:PAIRED_FIELDS]]
    names = [f.name for f in fields]
    sample = bounded(leads, LEADS, seed=seed).leads.select(*names).limit(2 * LEADS).collect()
    own = sorted((tuple(row) for row in sample), key=repr)
    picked = own[:: max(1, len(own) // PAIRED_LEADS)][:PAIRED_LEADS]
    grids = {f.name: _grid(f, [row[names.index(f.name)] for row in own]) for f in asked}
    means = _means(model, leads.sparkSession, fields, own, picked, grids, paired)
    curves = tuple(_curve(f, grids[f.name], means) for f in asked)
    return DependenceReport(len(own), curves, len(picked), _interactions(paired, len(picked), means))


Grid = list[tuple[Any, float]]


def _grid(field: LeadField, values: Sequence[Any]) -> Grid:
    """Values to try and the share of leads that have (a number: are nearest to) them."""
    known = [v for v in values if v is not None]
    if field.kind is Kind.NUMERIC:
        points = np.unique(np.quantile(known, np.linspace(0.02, 0.98, POINTS)).round(6)) if known else np.array([])
        nearest = np.abs(np.array(known)[:, None] - points).argmin(axis=1) if known else np.array([], int)
        shares = np.bincount(nearest, minlength=len(points)) / max(len(values), 1)
        return [(float(p), float(s)) for p, s in zip(points, shares, strict=True)]
    counted = sorted(Counter(values).items(), key=lambda item: (-item[1], str(item[0])))
    return [(word, count / len(values)) for word, count in counted[:WORDS]]


def _means(
    model: PipelineModel,
    spark: Any,
    fields: Sequence[LeadField],
    own: Sequence[tuple[Any, ...]],
    picked: Sequence[tuple[Any, ...]],
    grids: dict[str, Grid],
    paired: Sequence[LeadField],
) -> dict[tuple[str, int], Any]:
    """Mean, 10% and 90% of the scores of all variants by (task, point): one job."""
    names = [f.name for f in fields]
    types = ", ".join(f"{f.name} {'double' if f.kind is Kind.NUMERIC else 'string'}" for f in fields)
    curve_tasks = [
        _variant(name, i, {name: value}, names) for name in grids for i, (value, _) in enumerate(grids[name])
    ]
    pair_tasks = [
        _variant("&".join(task), i, {name: row[names.index(name)] for name in task}, names)
        for task in [(f.name,) for f in paired] + list(itertools.combinations([f.name for f in paired], 2))
        for i, row in enumerate(picked)
    ]
    made = [
        _crossed(spark, rows, tasks, types, fields, prefix)
        for prefix, rows, tasks in (("curve", own, curve_tasks), ("pair", picked, pair_tasks))
        if tasks
    ]
    variants = made[0].unionByName(made[1]) if len(made) > 1 else made[0]
    output = model.transform(variants)
    scored = output.select("__task", "__point", served_probability(output.columns).alias("p"))
    summed = scored.groupBy("__task", "__point").agg(
        F.avg("p").alias("mean"),
        F.percentile("p", F.lit(0.1)).alias("low"),
        F.percentile("p", F.lit(0.9)).alias("high"),
    )
    return {(row["__task"], row["__point"]): row for row in summed.collect()}


def _variant(task: str, point: int, changes: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return (task, point, list(changes), *(changes.get(name) for name in names))


def _crossed(
    spark: Any, rows: Sequence[tuple[Any, ...]], tasks: Any, types: str, fields: Sequence[LeadField], prefix: str
) -> DataFrame:
    """Every lead with every variant."""
    leads = spark.createDataFrame(list(rows), types)
    variants = spark.createDataFrame(tasks, variant_schema(fields, "__task string, __point int"))
    named = variants.withColumn("__task", F.concat(F.lit(f"{prefix}:"), "__task"))
    return with_changes(named.crossJoin(F.broadcast(leads)), fields, ["__task", "__point"])


def _curve(field: LeadField, grid: Grid, means: dict[tuple[str, int], Any]) -> Dependence:
    points = []
    for i, (value, share) in enumerate(grid):
        row = means[f"curve:{field.name}", i]
        points.append(Point(value, row["mean"], row["low"], row["high"], share))
    numeric = field.kind is Kind.NUMERIC
    if not numeric:
        points.sort(key=lambda p: -p.mean)
    return Dependence(field.name, numeric, field.unit, tuple(points))


def _interactions(paired: Sequence[LeadField], n: int, means: dict[tuple[str, int], Any]) -> tuple[Interaction, ...]:
    def centred(task: str) -> Any:
        values = np.array([means[f"pair:{task}", i]["mean"] for i in range(n)])
        return values - values.mean()

    found = []
    for first, second in itertools.combinations([f.name for f in paired], 2):
        joint = centred(f"{first}&{second}")
        extra = ((joint - centred(first) - centred(second)) ** 2).mean()
        h = float(np.sqrt(extra / (joint**2).mean())) if joint.any() else 0.0
        found.append(Interaction(first, second, min(h, 1.0), float(np.sqrt(extra))))
    return tuple(sorted(found, key=lambda i: -i.strength))
