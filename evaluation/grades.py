"""Grades A to D: where their cuts lie, from precision targets or from what a team can call, and what they hold."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.curves import Counts, ScoreBins, calibration_error_in_parts
from evaluation.errors import EvaluationError
from evaluation.grouped_rates import FEW_GROUPS, GroupedRate
from evaluation.metrics import score_bins_by
from features.grading import GRADES, GradeCuts
from features.splits import GROUP
from features.stages import GRADE

UNREACHED = 2.0  # above every probability


class NotGraded(EvaluationError):
    """Grades are asked of leads that carry none."""


class Precision(BaseModel, frozen=True, extra="forbid"):
    """Smallest share of converted leads wanted in a grade."""

    a: float = Field(0.8, gt=0, lt=1, description="share of grade A that converts, at the least")
    b: float = Field(0.5, gt=0, lt=1, description="share of grade B that converts, at the least")
    c: float = Field(0.2, gt=0, lt=1, description="share of grade C that converts, at the least")


class Capacity(BaseModel, frozen=True, extra="forbid"):
    """What a team can do in a day: grade A holds its calls of one day, B those of the next, C of the one after."""

    leads_per_day: int = Field(1000, ge=1, description="leads that arrive in a day")
    calls_per_day: int = Field(200, ge=1, description="leads that are called in a day")


class GradeRule(BaseModel, frozen=True, extra="forbid"):
    """How grades are cut (conf/grades.yaml)."""

    by: Literal["precision", "capacity"] = Field("precision", description="which of the two rules below holds")
    precision: Precision = Field(Precision(), description="targets of conversion per grade")
    capacity: Capacity = Field(Capacity(), description="leads and calls in a day")


@dataclass(frozen=True)
class GradeRow:
    """One grade among evaluated leads: `rate` of conversion with its 95% interval (None without leads).

    The interval is Wilson's with as many leads as the groups of repeated leads are worth (grouped_rates.py).
    `mean_score` is the mean probability that the model serves for them, 0 to 1: what the grade's rate should be. `ece`
    is the expected calibration error of that probability among them, as of a slice (slices.py), and None where they
    are of fewer than 100 groups. The same before calibration, of the forest's own probability, ends in `_uncalibrated`.
    All are None where that score was not asked for, or without leads.
    """

    grade: str
    leads: int
    share: float
    converted: int
    rate: float | None
    low: float | None
    high: float | None
    mean_score: float | None = None
    ece: float | None = None
    mean_score_uncalibrated: float | None = None
    ece_uncalibrated: float | None = None


@dataclass(frozen=True)
class GradeTable:
    """What every grade holds, A first."""

    rows: tuple[GradeRow, ...]

    @property
    def monotone(self) -> bool:
        """Whether a better grade converts more often, among the grades that hold leads."""
        rates = [row.rate for row in self.rows if row.rate is not None]
        return all(better > worse for better, worse in itertools.pairwise(rates))

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON-like data."""
        return {"monotone": self.monotone, "grades": [asdict(row) for row in self.rows]}


def grade_cuts(bins: ScoreBins, rule: GradeRule) -> GradeCuts:
    """Cuts on the calibrated probability, from out-of-fold leads; a cut lies on an edge of the bins.

    By precision: each grade, from the best on, takes in as many leads as its target allows. By capacity: A holds the
    share of leads that is called in a day, B and C as much again.
    """
    edges = _by_precision(bins, rule.precision) if rule.by == "precision" else _by_capacity(bins, rule.capacity)
    # Cuts must fall: a grade that no lead reaches lies above 1, an empty one below its better a hair apart.
    a = edges[0] if edges[0] is not None else UNREACHED + 2
    b = min(edges[1] if edges[1] is not None else UNREACHED + 1, float(np.nextafter(a, 0)))
    c = min(edges[2] if edges[2] is not None else UNREACHED, float(np.nextafter(b, 0)))
    return GradeCuts(a=a, b=b, c=c)


def grade_table(scored: DataFrame, label: str, score: str | None = None, uncalibrated: str | None = None) -> GradeTable:
    """Leads, conversion, mean score and calibration error of every grade. NotGraded where there is no column `grade`.

    `scored` has `grade`, `label` (0/1), `lead_group` and, where they are named, the served probability `score` and the
    forest's own before calibration, `uncalibrated`. Tables of group sizes and histograms of scores come to the driver:
    at most one row per size and number of converted leads, and 1,000 per grade.
    """
    if GRADE not in scored.columns:
        raise NotGraded("the model gives no grades; train it with calibrate=isotonic.")
    sums = (F.count(F.lit(1)).alias("leads"), F.sum(F.col(label).cast("long")).alias("converted"))
    per_group = scored.groupBy(GRADE, GROUP).agg(*sums)
    kinds = per_group.groupBy(GRADE, "leads", "converted").agg(F.count(F.lit(1)).alias("groups"))
    found: dict[str, list[Any]] = {grade: [] for grade in GRADES}
    for row in kinds.where(F.col(GRADE).isin(list(GRADES))).collect():
        found[row[GRADE]].append(row)
    total = sum(row["leads"] * row["groups"] for rows in found.values() for row in rows)
    bins = [score_bins_by(scored, label, GRADE, name) if name else {} for name in (score, uncalibrated)]
    return GradeTable(tuple(_row(grade, rows, total, *(b.get(grade) for b in bins)) for grade, rows in found.items()))


def _row(grade: str, kinds: Sequence[Any], total: int, served: ScoreBins | None, before: ScoreBins | None) -> GradeRow:
    """A grade from its groups by size and converted leads, and from its scores as they are served and before."""
    if not kinds:
        return GradeRow(grade, 0, 0.0, 0, None, None, None)
    held = GroupedRate(*(np.array([row[name] for row in kinds]) for name in ("leads", "converted", "groups")))
    low, high = held.interval()
    few = held.distinct < FEW_GROUPS
    promised = (*_promised(served, few), *_promised(before, few))
    return GradeRow(grade, held.n, held.n / total, held.hits, held.hits / held.n, low, high, *promised)


def _promised(bins: ScoreBins | None, few: bool) -> tuple[float | None, float | None]:
    """Mean score, and calibration error unless the leads are few; None without scores."""
    if bins is None:
        return None, None
    return float(bins.score_sum.sum()) / bins.n, None if few else calibration_error_in_parts(bins)


def _by_precision(bins: ScoreBins, wanted: Precision) -> list[float | None]:
    """Lower edges of A, B and C; None for a grade that cannot reach its target with any lead."""
    cuts: list[float | None] = []
    top = len(bins.edges)
    for target in (wanted.a, wanted.b, wanted.c):
        lowest = _lowest_reaching(bins.positives[:top], bins.leads[:top], target)
        cuts.append(None if lowest is None else _edge(bins, lowest))
        top = top if lowest is None else lowest
    return cuts


def _lowest_reaching(positives: Counts, leads: Counts, target: float) -> int | None:
    """The lowest bin from which up to the top the share of positives is at least `target`."""
    won, all_ = np.cumsum(positives[::-1]), np.cumsum(leads[::-1])
    reached = np.flatnonzero((won >= target * all_) & (leads[::-1] > 0))
    return len(leads) - 1 - int(reached[-1]) if len(reached) else None


def _by_capacity(bins: ScoreBins, capacity: Capacity) -> list[float | None]:
    share = min(1.0, capacity.calls_per_day / capacity.leads_per_day)
    above = np.cumsum(bins.leads[::-1])[::-1]
    cuts: list[float | None] = []
    for times in (1, 2, 3):
        fitting = np.flatnonzero(above <= min(1.0, share * times) * bins.n)
        cuts.append(_edge(bins, int(fitting[0])) if len(fitting) and above[fitting[0]] else None)
    return cuts


def _edge(bins: ScoreBins, index: int) -> float:
    """The lower edge of a bin as a cut, which is above 0."""
    return max(float(bins.edges[index]), 1e-9)
