"""Curves of a scored set of leads, from one histogram of its scores: ROC, precision-recall, reliability, gains."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

Z_95 = 1.959963984540054
# Fewest leads in each group, and most groups, over which the calibration error of a slice or a grade is the mean.
FEWEST, GROUPS = 100, 10


class EmptyClass(EvaluationError):
    """The scored leads lack a class that a curve needs."""


@dataclass(frozen=True, eq=False)
class ScoreBins:
    """Counts of leads per bin of predicted probability: equal bins on [0, 1], ascending; the last one holds 1.

    Bin i holds the scores from i / bins up to, not including, (i + 1) / bins. All three arrays have the shape (bins,).
    """

    positives: Counts  # leads with label 1
    negatives: Counts  # leads with label 0
    score_sum: Floats  # sum of the predicted probabilities

    def __post_init__(self) -> None:
        shapes = {np.shape(a) for a in (self.positives, self.negatives, self.score_sum)}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or shapes == {(0,)}:
            raise ValueError(f"the arrays of ScoreBins have the shapes {shapes}; one shape (bins,) is expected")

    @cached_property
    def edges(self) -> Floats:
        """Lower edge of every bin, shape (bins,)."""
        return np.arange(len(self.positives)) / len(self.positives)

    @cached_property
    def leads(self) -> Counts:
        """Leads of either class per bin, shape (bins,)."""
        return np.asarray(self.positives + self.negatives)

    @cached_property
    def n(self) -> int:
        """Leads in all bins."""
        return int(self.leads.sum())


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Points from (0, 0) to (1, 1), and the area beneath; `thresholds` starts with infinity (no lead is positive)."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats
    area: float


@dataclass(frozen=True, eq=False)
class PrCurve:
    """Points by falling threshold, and the area beneath; `base_rate` is the precision of a random order."""

    recall: Floats
    precision: Floats
    thresholds: Floats
    area: float
    base_rate: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """Groups of leads by ascending score: mean prediction, observed rate, its Wilson 95% interval, leads.

    The interval takes every lead as independent of the others: where leads repeat each other it is too narrow.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    leads: Counts


@dataclass(frozen=True, eq=False)
class Gains:
    """Shares (0 to 1) of the converted leads that are reached when the best-scored leads are contacted first."""

    contacted: Floats
    reached: Floats
    lift: Floats  # reached / contacted; at 0 its limit from above
    base_rate: float

    def at(self, contacted: float) -> tuple[float, float]:
        """Share reached and lift when this share of all leads is contacted; leads of one bin come in random order."""
        if not 0 < contacted <= 1:
            raise ValueError(f"contacted={contacted}; a share above 0 and up to 1 is expected")
        reached = float(np.interp(contacted, self.contacted, self.reached))
        return reached, reached / contacted


def roc_curve(bins: ScoreBins) -> RocCurve:
    """ROC curve, one point per bin that holds leads; EmptyClass unless both classes are there.

    The area is the trapezoid's: leads of one bin count as ties, one half each (Fawcett 2006, "An introduction to ROC
    analysis"). It differs from the exact area by at most half the share of the pairs whose leads share a bin.
    """
    true, false, thresholds = _from_the_top(bins, "a ROC curve")
    tpr, fpr = np.append(0, true) / true[-1], np.append(0, false) / false[-1]
    return RocCurve(fpr, tpr, np.append(np.inf, thresholds), float(np.trapezoid(tpr, fpr)))


def pr_curve(bins: ScoreBins) -> PrCurve:
    """Precision-recall curve, one point per bin that holds leads; EmptyClass unless both classes are there.

    It starts at recall 0 with the first point's precision, and the area is the trapezoid's, as in Spark's
    BinaryClassificationMetrics, so that it agrees with the metric auc_pr.
    """
    true, false, thresholds = _from_the_top(bins, "a precision-recall curve")
    precision, recall = true / (true + false), true / true[-1]
    precision, recall = np.append(precision[0], precision), np.append(0, recall)
    area = float(np.trapezoid(precision, recall))
    return PrCurve(recall, precision, np.append(np.inf, thresholds), area, float(precision[-1]))


def confusion(bins: ScoreBins, threshold: float = 0.5) -> Counts:
    """Leads by actual (rows 0, 1) and predicted class (columns 0, 1), shape (2, 2).

    A lead is predicted to convert from the threshold up; the threshold is taken to the nearest edge of a bin.
    EmptyClass unless both classes are there.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}; a probability from 0 to 1 is expected")
    _require_both(bins, "a confusion matrix")
    cut = round(threshold * len(bins.positives))
    return np.array([[side[:cut].sum(), side[cut:].sum()] for side in (bins.negatives, bins.positives)])


def reliability(bins: ScoreBins, groups: int = 10) -> Reliability:
    """Predicted against observed rates in up to `groups` groups of about equal size; EmptyClass without any lead.

    A bin is never split: it goes to the group in which the middle one of its leads falls.
    """
    if bins.n == 0:
        raise EmptyClass(_missing(bins, "a reliability diagram", "at least one scored lead"))
    held = bins.leads > 0
    leads, positives, scores = bins.leads[held], bins.positives[held], bins.score_sum[held]
    middle = np.cumsum(leads) - leads / 2
    group = np.minimum(middle * groups // bins.n, groups - 1)
    starts = np.unique(group, return_index=True)[1]
    n, hits = np.add.reduceat(leads, starts), np.add.reduceat(positives, starts)
    low, high = wilson_interval(hits, n)
    return Reliability(np.add.reduceat(scores, starts) / n, hits / n, low, high, n)


def wilson_interval(hits: Counts | Floats, n: Counts | Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the 95% interval of a rate (Wilson 1927); `n` above 0, whole or an effective number."""
    rate, spread = hits / n, Z_95**2 / n
    middle = (rate + spread / 2) / (1 + spread)
    half = np.sqrt(spread * (rate * (1 - rate) + spread / 4)) / (1 + spread)
    # Rounding must not put a rate of 0 or 1 outside its own interval.
    return np.minimum(np.maximum(middle - half, 0), rate), np.maximum(np.minimum(middle + half, 1), rate)


def expected_calibration_error(groups: Reliability) -> float:
    """Mean distance of observed rate and mean prediction, weighted by leads (Naeini et al. 2015); 0 is best.

    Chance alone makes it larger than 0: the more so, the fewer leads a group has.
    """
    return float(np.average(np.abs(groups.observed - groups.predicted), weights=groups.leads))


def calibration_error_in_parts(bins: ScoreBins) -> float:
    """Expected calibration error of a part of all leads, in up to ten groups of 100 leads or more.

    Chance alone makes it about 0.03 where the groups are that small. EmptyClass without any lead.
    """
    return expected_calibration_error(reliability(bins, min(GROUPS, max(1, bins.n // FEWEST))))


def cumulative_gains(bins: ScoreBins) -> Gains:
    """Cumulative gains and lift, contacting the best-scored leads first; EmptyClass unless both classes are there."""
    true, false, _ = _from_the_top(bins, "a lift curve")
    contacted, reached = (true + false) / bins.n, true / true[-1]
    lift = reached / contacted
    return Gains(np.append(0, contacted), np.append(0, reached), np.append(lift[0], lift), float(true[-1] / bins.n))


def _from_the_top(bins: ScoreBins, purpose: str) -> tuple[Counts, Counts, Floats]:
    """Positives and negatives at or above the lower edge of each bin that holds leads, by falling score."""
    _require_both(bins, purpose)
    held = np.flatnonzero(bins.leads)[::-1]
    return np.cumsum(bins.positives[held]), np.cumsum(bins.negatives[held]), bins.edges[held]


def _require_both(bins: ScoreBins, purpose: str) -> None:
    if not (bins.positives.any() and bins.negatives.any()):
        raise EmptyClass(_missing(bins, purpose, "both classes"))


def _missing(bins: ScoreBins, purpose: str, needed: str) -> str:
    return (
        f"the scored leads hold {bins.positives.sum():,} converted and {bins.negatives.sum():,} not converted; "
        f"{purpose} needs {needed}. Score more leads, or another split."
    )
