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

from evaluation.bootstrap import Interval, Ranked, Weights, interval, resampled
from evaluation.curves import Floats, expected_calibration_error, reliability
from evaluation.gate_measures import bins_of
from evaluation.grouped_rates import GroupedRate
from evaluation.scored_sample import ScoredSample, collect_scored
from features.contract import Kind, LeadField

TOP_WORDS, SHOWN_FROM, RESAMPLES = 12, 10, 400
# Below these numbers of groups, leads whose repeats count once, a slice's numbers are chance more than fact: it is
# shown, and judged by nobody.
FEW_GROUPS, FEW_OF_A_CLASS = 100, 20
# Leads in each part, and parts, of which a slice's calibration error is the mean.
PART, PARTS = 100, 10
MISSING, OTHER = "(not answered)", "(all others)"
GRADE = "grade"


@dataclass(frozen=True)
class Slice:
    """The leads with one value of one field; rates, shares and scores in [0, 1].

    `groups` are its leads in the sample with repeats counted once. `rate_low` and `rate_high` are the ends of the
    rate's 95% interval, as of a grade (grouped_rates.py). `auc_gap` is the slice's AUC less that of all leads,
    `brier_gap` likewise (above 0 is worse), and `calibration_gap` the mean score less the observed rate: above 0 the
    model promises too much. Intervals are 95%. `ece` is the expected calibration error in up to ten parts of 100 leads
    or more; chance alone makes it about 0.03 where the parts are that small. A `small` slice has few groups, or few
    that hold a lead of a class; gaps are None where a class is missing, the error where the slice is small.
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
    scored: DataFrame, label: str, score: str, fields: Sequence[LeadField], resamples: int = RESAMPLES, seed: int = 0
) -> SliceReport | None:
    """Measure the model by the values of `fields`; None where there is no field to slice by.

    `scored` is cached and carries `label` (0/1), the probability `score`, `lead_group`, the fields, and `grade` where
    leads are graded. A field's 12 most frequent values, of 10 leads or more, are slices; the rest are one.
    OneClassOnly where all leads have one label.
    """
    if not fields:
        return None
    names = [f"__slice_{f.name}" for f in fields]
    valued = scored.select("*", *(_value_of(f).alias(n) for f, n in zip(fields, names, strict=True)))
    counts = _counts(valued, label, score, names)
    kept = {n: [r["value"] for r in counts if r["slice"] == n and r["value"] != OTHER] for n in names}
    sample = collect_scored(
        valued.select("*", *(_or_other(n, kept[n]).alias(f"{n}_kept") for n in names)),
        label,
        [score],
        [f"{n}_kept" for n in names],
    )
    masks = {(r["slice"], r["value"]): sample.words[f"{r['slice']}_kept"] == r["value"] for r in counts}
    gaps = _gaps(sample, score, masks, resamples, seed)
    total, by_column = scored.count(), {n: f for f, n in zip(fields, names, strict=True)}
    parts = {key: (sample.only(mask), gaps[key]) for key, mask in masks.items()}
    made = [_slice(r, by_column[r["slice"]].name, total, *parts[r["slice"], r["value"]], score) for r in counts]
    order = {f.name: i for i, f in enumerate(fields)}
    made.sort(key=lambda s: (order[s.field], *_badness(s)))
    protected = tuple(f.name for f in fields if f.protected)
    return SliceReport(gaps["", ""].auc, total, sample.n, resamples, protected, tuple(made))


@dataclass(frozen=True)
class _Gaps:
    auc: Any
    auc_gap: Any
    brier_gap: Any
    calibration_gap: Any


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


def _counts(valued: DataFrame, label: str, score: str, names: Sequence[str]) -> list[Any]:
    """Per field and value: leads, converted ones, summed scores, grades; the rare values summed up as one."""
    grade = F.col(GRADE) if GRADE in valued.columns else F.lit(None).cast("string")
    cells = F.explode(F.array(*(F.struct(F.lit(n).alias("slice"), F.col(n).alias("value")) for n in names)))
    long = valued.select(
        F.col(label).cast("int").alias("y"), F.col(score).alias("p"), grade.alias(GRADE), cells.alias("c")
    )
    sums = [F.sum("y").alias("won"), F.sum("p").alias("p"), F.count(F.lit(1)).alias("n")]
    sums += [F.sum((F.col(GRADE) == g).cast("int")).alias(g) for g in "ABCD"]
    per_value = long.groupBy("c.slice", "c.value").agg(*sums)
    place = F.row_number().over(Window.partitionBy("slice").orderBy(F.desc("n"), "value"))
    shown = F.when((place <= TOP_WORDS) & (F.col("n") >= SHOWN_FROM), F.col("value")).otherwise(OTHER)
    summed = per_value.select("slice", shown.alias("value"), "won", "p", "n", *"ABCD").groupBy("slice", "value")
    return summed.agg(*(F.sum(c).alias(c) for c in ("won", "p", "n", *"ABCD"))).collect()


def _slice(row: Any, field: str, total: int, part: ScoredSample, gaps: _Gaps, score: str) -> Slice:
    """A slice from its counts among all leads, and from its part of the sample."""
    n, rate = row["n"], row["won"] / row["n"]
    graded = {g: row[g] for g in "ABCD" if row[g] is not None}
    grouped = GroupedRate.of(part.groups, part.labels)
    small = grouped.distinct < FEW_GROUPS or grouped.of_the_rarer_class < FEW_OF_A_CLASS
    low, high = grouped.interval(rate)
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
        mean_score=row["p"] / n,
        ece=None if small else _calibration_error(part, score),
        auc=gaps.auc,
        auc_gap=gaps.auc_gap,
        brier_gap=gaps.brier_gap,
        calibration_gap=gaps.calibration_gap,
        grades={g: count / n for g, count in graded.items()} if sum(graded.values()) else {},
    )


def _calibration_error(part: ScoredSample, score: str) -> float:
    """Expected calibration error in parts of 100 leads or more, ten at most."""
    bins = bins_of(part.labels, part.scores[score])
    return expected_calibration_error(reliability(bins, min(PARTS, max(1, part.n // PART))))


def _gaps(
    sample: ScoredSample,
    score: str,
    masks: Mapping[tuple[str, str], NDArray[np.bool_]],
    resamples: int,
    seed: int,
) -> dict[tuple[str, str], _Gaps]:
    """Each slice's measures with their intervals; those of all leads under ("", "")."""
    everyone = np.ones(sample.n, bool)
    parts = {("", ""): everyone, **masks}
    ranked = {key: _part(sample, score, mask) for key, mask in parts.items() if _both(sample, mask)}
    drawn: dict[tuple[str, str], list[Floats]] = {key: [] for key in ranked}
    for weights in (np.ones((1, sample.n), np.float32), *resampled(sample.groups, resamples, seed)):
        whole = _measures(sample, score, ranked["", ""], everyone, weights)
        for key, part in ranked.items():
            found = _measures(sample, score, part, parts[key], weights)
            drawn[key].append(np.stack([found[0], found[0] - whole[0], found[1] - whole[1], found[2]]))
    made = {key: np.concatenate(found, axis=1) for key, found in drawn.items()}
    spans = {key: [interval(float(row[0]), row[1:]) for row in found] for key, found in made.items()}
    return {key: _Gaps(*spans[key]) if key in spans else _Gaps(None, None, None, None) for key in parts}


def _both(sample: ScoredSample, mask: NDArray[np.bool_]) -> bool:
    """Whether a part holds both classes; all leads together always count, so that one class alone is an error there."""
    return bool(0 < sample.labels[mask].sum() < mask.sum())


def _part(sample: ScoredSample, score: str, mask: NDArray[np.bool_]) -> Ranked:
    return Ranked(sample.labels[mask], sample.scores[score][mask])


def _measures(
    sample: ScoredSample, score: str, part: Ranked, mask: NDArray[np.bool_], weights: Weights
) -> tuple[Floats, Floats, Floats]:
    """AUC, Brier score and mean score less observed rate, each of the shape (resamples,)."""
    mine = weights[:, mask]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = part.metrics(mine)
        over = mine @ (sample.scores[score][mask] - sample.labels[mask]).astype(np.float32) / mine.sum(axis=1)
    return found["auc_roc"], found["brier"], np.asarray(over, np.float64)
