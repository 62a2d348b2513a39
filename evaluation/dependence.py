"""Partial dependence: how the mean score moves with one field, the other fields as they are; and interactions.

Friedman 2001, "Greedy function approximation"; the H statistic of Friedman and Popescu 2008, "Predictive learning
via rule ensembles". Every curve and statistic comes from one table: a bounded sample crossed with a grid.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from evaluation.curves import Floats
from evaluation.samples import bounded
from evaluation.scorers import Scorer, field_columns
from features.contract import Kind, LeadField

LEADS, POINTS, WORDS = 400, 12, 8
PAIRED_FIELDS, PAIRED_LEADS = 4, 50
# From both on an interaction is worth a picture: a tenth of the joint effect, and one point of probability.
LARGE_H, LARGE_STRENGTH = 0.1, 0.01


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

    `h` is Friedman's H, 0 (none) to about 1 (all of it); `strength` the root mean square of the part that is joint, as
    a probability (0.01 is one point): a large H of a small effect is small here.
    """

    first: str
    second: str
    h: float
    strength: float

    @property
    def large(self) -> bool:
        """Whether it is a good part of what the two fields do, and moves scores by a point or more."""
        return self.h >= LARGE_H and self.strength >= LARGE_STRENGTH


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
    score: Scorer, leads: DataFrame, fields: Sequence[LeadField], top: Sequence[str], seed: int = 0
) -> DependenceReport:
    """Curves of the fields named in `top` over 400 leads; interactions among the first 4 of them over 50 leads.

    `fields` are all that the model sees; `leads` carries them and `lead_group`. `score` gets one table of about
    6 x 12 x 400 + 50 x 50 x 10 leads.
    """
    by_name = {f.name: f for f in fields}
    asked, paired = [by_name[name] for name in top], list(top[:PAIRED_FIELDS])
    sample = bounded(leads, LEADS, seed=seed).leads.select(*field_columns(fields)).limit(2 * LEADS).toArrow()
    own = sample.take(pa.array(_in_order(sample)))
    picked = own.take(pa.array(range(0, own.num_rows, max(1, own.num_rows // PAIRED_LEADS)))).slice(0, PAIRED_LEADS)
    grids = {f.name: _grid(f, own[f.name].to_pylist()) for f in asked}
    curves, effects = _scores(score, own, picked, grids, paired)
    return DependenceReport(
        own.num_rows,
        tuple(_curve(f, grids[f.name], curves[f.name]) for f in asked),
        picked.num_rows,
        _interactions(paired, effects),
    )


def _in_order(leads: pa.Table) -> list[int]:
    """Places of the leads in an order that depends on the leads alone."""
    rows = list(zip(*(column.to_pylist() for column in leads.columns), strict=True))
    return sorted(range(len(rows)), key=lambda i: repr(rows[i]))


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


Task = tuple[str, ...]


def _scores(
    score: Scorer, own: pa.Table, picked: pa.Table, grids: dict[str, Grid], paired: Sequence[str]
) -> tuple[dict[str, Floats], dict[Task, Floats]]:
    """Scores of all variants at once.

    By field the scores of `own` at every point of its grid, shape (points, leads); and by one or two of the paired
    fields the mean score of `picked` with the values that each of these leads has there, shape (leads,).
    """
    variants = [_changed(own, {name: value}) for name, grid in grids.items() for value, _ in grid]
    tasks: list[Task] = [(name,) for name in paired] + list(itertools.combinations(paired, 2))
    rows = picked.to_pylist()
    variants += [_changed(picked, {name: row[name] for name in task}) for task in tasks for row in rows]
    scored = score(pa.concat_tables([own.slice(0, 0), *variants]))
    curves, start = {}, 0
    for name, grid in grids.items():
        end = start + len(grid) * own.num_rows
        curves[name] = scored[start:end].reshape(len(grid), own.num_rows)
        start = end
    means = scored[start:].reshape(len(tasks), len(rows), len(rows)).mean(axis=2)
    return curves, dict(zip(tasks, means, strict=True))


def _changed(leads: pa.Table, values: Mapping[str, Any]) -> pa.Table:
    """The leads with some of their fields set to one value each, which may be missing."""
    for name, value in values.items():
        place, column = leads.column_names.index(name), leads.schema.field(name)
        leads = leads.set_column(place, column, pa.repeat(pa.scalar(value, column.type), leads.num_rows))
    return leads


def _curve(field: LeadField, grid: Grid, scores: Floats) -> Dependence:
    points = []
    for (value, share), found in zip(grid, scores, strict=True):
        low, high = np.quantile(found, (0.1, 0.9))
        points.append(Point(value, float(found.mean()), float(low), float(high), share))
    numeric = field.kind is Kind.NUMERIC
    if not numeric:
        points.sort(key=lambda p: -p.mean)
    return Dependence(field.name, numeric, field.unit, tuple(points))


def _interactions(paired: Sequence[str], effects: Mapping[Task, Floats]) -> tuple[Interaction, ...]:
    centred = {task: values - values.mean() for task, values in effects.items()}
    found = []
    for first, second in itertools.combinations(paired, 2):
        joint = centred[first, second]
        extra = ((joint - centred[first,] - centred[second,]) ** 2).mean()
        h = float(np.sqrt(extra / (joint**2).mean())) if joint.any() else 0.0
        found.append(Interaction(first, second, min(h, 1.0), float(np.sqrt(extra))))
    return tuple(sorted(found, key=lambda i: -i.strength))
