"""How a model does on parts of the leads: by channel, source, city, country and every protected field.

Counts, rates and grade shares are of all scored leads and come from Spark; areas, intervals and calibration errors are
of a bounded sample, resampled by groups of repeated leads as in bootstrap.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from evaluation.bootstrap import Interval
from evaluation.curves import calibration_error_in_parts
from evaluation.gate_measures import bins_of
from evaluation.grouped_rates import FEW_GROUPS, FEW_OF_A_CLASS, GroupedRate
from evaluation.scored_sample import ScoredSample, collect_scored
from evaluation.slice_gaps import EVERYONE, Gaps, slice_gaps
from features.contract import Kind, LeadField
from features.grading import GRADES
from features.stages import GRADE

TOP_WORDS, SHOWN_FROM, RESAMPLES = 12, 10, 400
MISSING, OTHER = "(not answered)", "(all others)"


@dataclass(frozen=True)
class Slice:
    """The leads with one value of one field; rates, shares and scores in [0, 1].

    `groups` are its leads in the sample with repeats counted once. `rate_low` and `rate_high` are the ends of the
    rate's 95% interval, as of a grade (grouped_rates.py). `auc_gap` is the slice's AUC less that of all leads,
    `brier_gap` likewise (above 0 is worse), and `calibration_gap` the mean score less the observed rate: above 0 the
    model promises too much. Intervals are 95%. `ece` is the expected calibration error in up to ten parts of 100 leads
    or more; chance alone makes it about 0.03 where the parts are that small. The same before calibration, of the
    forest's own probability, ends in `_uncalibrated` and is None where the model has no such stage. `grades` are the
    shares of the grades among its leads, and `grades_low` and `grades_high` the ends of their intervals; all three are
    empty where leads are not graded.

    A `small` slice has few groups, or few that hold a lead of a class: it is shown, and judged by nobody. Gaps are None
    where a class is missing, the error where the slice is small.
    """

    field: str
    value: str
    leads: int
    groups: int
    share: float
    small: bool
    rate: float
    rate_low: float
    rate_high: float
    mean_score: float
    ece: float | None
    auc: Interval | None
    auc_gap: Interval | None
    brier_gap: Interval | None
    calibration_gap: Interval | None
    grades: Mapping[str, float]
    grades_low: Mapping[str, float]
    grades_high: Mapping[str, float]
    mean_score_uncalibrated: float | None = None
    ece_uncalibrated: float | None = None
    calibration_gap_uncalibrated: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """The slice as JSON-like data."""
        return asdict(self)


@dataclass(frozen=True)
class SliceReport:
    """All slices, field by field, the surely worst first and small ones last, and what they are held against.

    How bad a slice surely is: what its AUC falls short of that of all leads by at the least (the upper end of
    `auc_gap`); or, where the interval of `calibration_gap` leaves out 0, the end that is nearer to 0, if that is
    larger. A tenth of AUC and ten points of a promised rate count the same.
    """

    auc: Interval
    leads: int
    sampled: int
    resamples: int
    protected: tuple[str, ...]
    slices: tuple[Slice, ...]

    def of(self, field: str) -> tuple[Slice, ...]:
        """The slices by one field."""
        return tuple(s for s in self.slices if s.field == field)

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that were sliced by."""
        return tuple(dict.fromkeys(s.field for s in self.slices))

    @property
    def worst(self) -> Slice | None:
        """The slice, not small, that is surely the worst in order or calibration; None without one to judge."""
        return min(self._judged, key=_badness, default=None)

    @property
    def worst_ordered(self) -> Slice | None:
        """The slice, not small, whose AUC is most surely below that of all leads; None without one to judge."""
        return min(self._judged, key=_surely_short, default=None)

    @property
    def _judged(self) -> list[Slice]:
        return [s for s in self.slices if not s.small and s.auc_gap]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data, the worst slices of all fields first."""
        ordered = sorted(self.slices, key=_badness)
        return {**asdict(self), "slices": [s.as_dict() for s in ordered]}


def slice_report(
    scored: DataFrame,
    label: str,
    score: str,
    fields: Sequence[LeadField],
    uncalibrated: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SliceReport | None:
    """Measure the model by the values of `fields`; None where there is no field to slice by.

    `scored` is cached and carries `label` (0/1), the probability `score`, `lead_group`, the fields, `grade` where leads
    are graded, and the forest's own probability before calibration, `uncalibrated`, where the model calibrates. A
    field's 12 most frequent values, of 10 leads or more, are slices; the rest are one. OneClassOnly where all leads
    have one label.
    """
    if not fields:
        return None
    names = [f"__slice_{f.name}" for f in fields]
    valued = scored.select("*", *(_value_of(f).alias(n) for f, n in zip(fields, names, strict=True)))
    scores = [score, uncalibrated] if uncalibrated else [score]
    counts = _counts(valued, label, scores, names)
    kept = {n: [r["value"] for r in counts if r["slice"] == n and r["value"] != OTHER] for n in names}
    sample = collect_scored(
        valued.select("*", *(_or_other(n, kept[n]).alias(f"{n}_kept") for n in names)),
        label,
        scores,
        [*(f"{n}_kept" for n in names), *([GRADE] if GRADE in scored.columns else [])],
    )
    masks = {(r["slice"], r["value"]): sample.words[f"{r['slice']}_kept"] == r["value"] for r in counts}
    gaps = slice_gaps(sample, scores, masks, resamples, seed)
    total, by_column = scored.count(), {n: f for f, n in zip(fields, names, strict=True)}
    parts = {key: (sample.only(mask), gaps[key]) for key, mask in masks.items()}
    made = [_slice(r, by_column[r["slice"]].name, total, *parts[r["slice"], r["value"]], scores) for r in counts]
    order = {f.name: i for i, f in enumerate(fields)}
    made.sort(key=lambda s: (order[s.field], *_badness(s)))
    protected = tuple(f.name for f in fields if f.protected)
    return SliceReport(gaps[EVERYONE].auc, total, sample.n, resamples, protected, tuple(made))


def _badness(found: Slice) -> tuple[bool, float, str]:
    """Sorts the slice that is most surely bad first (see SliceReport); small ones and those without an area last."""
    promised = found.calibration_gap
    astray = max(promised.low, -promised.high) if promised and not promised.holds(0) else -np.inf
    return (found.small or found.auc_gap is None, min(_surely_short(found), -astray), found.value)


def _surely_short(found: Slice) -> float:
    """The upper end of a slice's AUC less that of all leads; infinite without an area."""
    return found.auc_gap.high if found.auc_gap else np.inf


def _value_of(field: LeadField) -> Column:
    """The slice a lead falls into by a field, as text."""
    value = F.col(field.name)
    if field.kind is Kind.CATEGORY:
        return F.coalesce(value, F.lit(MISSING))
    edges = [e for e in field.buckets if np.isfinite(e)]
    named = F.lit(f"under {edges[0]:g}")
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        text = f"{low:g} and more" if high is None else f"{low:g} to under {high:g}"
        named = F.when(value >= low, F.lit(text)).otherwise(named)
    return F.when(value.isNull(), F.lit(MISSING)).otherwise(named)


def _or_other(name: str, kept: Sequence[str]) -> Column:
    return F.when(F.col(name).isin(list(kept)), F.col(name)).otherwise(OTHER) if kept else F.lit(OTHER)


def _counts(valued: DataFrame, label: str, scores: Sequence[str], names: Sequence[str]) -> list[Any]:
    """Per field and value: leads, converted ones, summed scores, grades; the rare values summed up as one.

    The sums stand under `p0`, `p1` and so on, in the order of `scores`.
    """
    grade = F.col(GRADE) if GRADE in valued.columns else F.lit(None).cast("string")
    cells = F.explode(F.array(*(F.struct(F.lit(n).alias("slice"), F.col(n).alias("value")) for n in names)))
    given = [F.col(score).alias(f"p{i}") for i, score in enumerate(scores)]
    long = valued.select(F.col(label).cast("int").alias("y"), *given, grade.alias(GRADE), cells.alias("c"))
    sums = [F.sum("y").alias("won"), F.count(F.lit(1)).alias("n")]
    sums += [F.sum(f"p{i}").alias(f"p{i}") for i in range(len(scores))]
    sums += [F.sum((F.col(GRADE) == g).cast("int")).alias(g) for g in GRADES]
    per_value = long.groupBy("c.slice", "c.value").agg(*sums)
    place = F.row_number().over(Window.partitionBy("slice").orderBy(F.desc("n"), "value"))
    shown = F.when((place <= TOP_WORDS) & (F.col("n") >= SHOWN_FROM), F.col("value")).otherwise(OTHER)
    told = ("won", "n", *(f"p{i}" for i in range(len(scores))), *GRADES)
    summed = per_value.select("slice", shown.alias("value"), *told).groupBy("slice", "value")
    return summed.agg(*(F.sum(c).alias(c) for c in told)).collect()


def _slice(row: Any, field: str, total: int, part: ScoredSample, gaps: Gaps, scores: Sequence[str]) -> Slice:
    """A slice from its counts among all leads, and from its part of the sample."""
    n, rate = row["n"], row["won"] / row["n"]
    grouped = GroupedRate.of(part.groups, part.labels)
    small = grouped.distinct < FEW_GROUPS or grouped.of_the_rarer_class < FEW_OF_A_CLASS
    low, high = grouped.interval(rate)
    means = [row[f"p{i}"] / n for i in range(len(scores))]
    errors = [None if small else _calibration_error(part, score) for score in scores]
    shares = _grade_shares(row)
    ends = {g: GroupedRate.of(part.groups, _holds(part, g)).interval(share) for g, share in shares.items()}
    return Slice(
        field=field,
        value=row["value"],
        leads=n,
        groups=grouped.distinct,
        share=n / total,
        small=small,
        rate=rate,
        rate_low=low,
        rate_high=high,
        mean_score=means[0],
        ece=errors[0],
        auc=gaps.auc,
        auc_gap=gaps.auc_gap,
        brier_gap=gaps.brier_gap,
        calibration_gap=gaps.calibration_gap,
        grades=shares,
        grades_low={g: low for g, (low, _) in ends.items()},
        grades_high={g: high for g, (_, high) in ends.items()},
        mean_score_uncalibrated=means[1] if len(scores) > 1 else None,
        ece_uncalibrated=errors[1] if len(scores) > 1 else None,
        calibration_gap_uncalibrated=gaps.calibration_gap_uncalibrated,
    )


def _grade_shares(row: Any) -> dict[str, float]:
    """Shares of the grades among a slice's leads; none where no lead has a grade."""
    counts = {g: row[g] for g in GRADES if row[g] is not None}
    return {g: count / row["n"] for g, count in counts.items()} if sum(counts.values()) else {}


def _holds(part: ScoredSample, grade: str) -> NDArray[np.int8]:
    """Which leads have the grade, shape (n,), 0 or 1."""
    return (part.words[GRADE] == grade).astype(np.int8)


def _calibration_error(part: ScoredSample, score: str) -> float:
    return calibration_error_in_parts(bins_of(part.labels, part.scores[score]))
