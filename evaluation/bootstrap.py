"""95% intervals of metrics and of paired differences, by a bootstrap over groups of repeated leads.

Each resample draws as many groups as there are, with replacement; a lead counts as often as its group was drawn. An
interval is the span of the middle 95% of the resampled metrics (Efron and Tibshirani 1993, "An Introduction to the
Bootstrap", chapter 13). Resampling groups, not leads, keeps repeats from passing for independent evidence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.curves import Floats
from evaluation.metrics import EPSILON, OneClassOnly
from evaluation.scored_sample import Codes, ScoredSample

Weights = NDArray[np.float32]

METRICS = ("auc_roc", "auc_pr", "brier", "log_loss", "lift_at_10", "lift_at_20")
RESAMPLES = 1000
# Weights held at a time: 4 million of 4 bytes, and a few arrays of that size.
CELLS = 4_000_000
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A metric on the sample itself, and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The three numbers by name."""
        return asdict(self)

    def holds(self, value: float) -> bool:
        """Whether `value` lies within the interval."""
        return self.low <= value <= self.high

    def among(self, looks: int) -> "Interval":
        """The interval for one of `looks` that hold together in 95% of cases (Bonferroni): wider, of the same shape.

        Each end moves away from the value as the quantiles of a normal distribution do.
        """
        factor = (_NORMAL.inv_cdf(1 - 0.025 / max(looks, 1))) / _NORMAL.inv_cdf(0.975)
        return Interval(
            self.value, self.value - factor * (self.value - self.low), self.value + factor * (self.high - self.value)
        )

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Intervals:
    """Intervals by metric (the names of METRICS) and what they rest on."""

    metrics: Mapping[str, Interval]
    leads: int
    total: int
    groups: int
    resamples: int

    def as_dict(self) -> dict[str, Any]:
        """The intervals and their basis as JSON-like data."""
        return {**asdict(self), "metrics": {name: i.as_dict() for name, i in self.metrics.items()}}

    def flat(self, prefix: str = "") -> dict[str, float]:
        """Ends by name, as `test_auc_roc_low`: what a run logs beside the metric itself."""
        ends = {f"{prefix}{name}_low": i.low for name, i in self.metrics.items()}
        return ends | {f"{prefix}{name}_high": i.high for name, i in self.metrics.items()}


def intervals(sample: ScoredSample, score: str, resamples: int = RESAMPLES, seed: int = 0) -> Intervals:
    """95% intervals of one model's metrics. OneClassOnly unless both classes are there."""
    return _basis(sample, resamples, _spans(sample, (score,), lambda found: found[0], resamples, seed))


def paired_differences(
    sample: ScoredSample, first: str, second: str, resamples: int = RESAMPLES, seed: int = 0
) -> Intervals:
    """95% intervals of `first` minus `second`, both scored on the same leads and resampled together.

    What makes a resample easy or hard does so for both models and cancels: these intervals are narrower than the two
    models' own would suggest. OneClassOnly unless both classes are there.
    """
    return _basis(
        sample, resamples, _spans(sample, (first, second), lambda found: found[0] - found[1], resamples, seed)
    )


def _basis(sample: ScoredSample, resamples: int, metrics: Mapping[str, Interval]) -> Intervals:
    return Intervals(metrics, sample.n, sample.total, len(np.unique(sample.groups)), resamples)


def _spans(
    sample: ScoredSample,
    scores: Sequence[str],
    combine: Callable[[Sequence[Floats]], Floats],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    if not 0 < sample.labels.sum() < sample.n:
        raise OneClassOnly(
            f"the {sample.n:,} leads to resample are of one class only; both converted and not converted leads are "
            "needed. Prepare more leads, or another split."
        )
    ranked = [Ranked(sample.labels, sample.scores[score]) for score in scores]

    def measured(weights: Weights) -> dict[str, Floats]:
        found = [r.metrics(weights) for r in ranked]
        return {m: combine([f[m] for f in found]) for m in METRICS}

    point = measured(np.ones((1, sample.n), np.float32))
    drawn = [measured(weights) for weights in resampled(sample.groups, resamples, seed)]
    return {m: interval(float(point[m][0]), np.concatenate([d[m] for d in drawn])) for m in METRICS}


def interval(value: float, drawn: Floats) -> Interval:
    """The middle 95% of what was drawn; a resample that lost a class (not a number) is left out."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def resampled(groups: Codes, resamples: int, seed: int) -> Iterator[Weights]:
    """Yield weights of the leads, shape (some, leads), `resamples` rows in all; equal seeds give equal weights."""
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1
    sizes = np.bincount(groups, minlength=count)
    present = np.flatnonzero(sizes)
    at = np.searchsorted(present, groups)
    some = max(1, CELLS // len(groups))
    for start in range(0, resamples, some):
        batch = min(some, resamples - start)
        picked = rng.integers(0, len(present), size=(batch, len(present)))
        offset = np.arange(batch)[:, None] * len(present)
        drawn = np.bincount((picked + offset).ravel(), minlength=batch * len(present)).reshape(batch, -1)
        yield drawn.astype(np.float32)[:, at]


class Ranked:
    """Leads in falling order of score: sorted once, measured under any weights."""

    def __init__(self, labels: NDArray[np.int8], scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        # Where each run of equal scores starts: ties are one step of the curve.
        self._starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        self._won = labels[self._order].astype(np.float32)
        hit = np.clip(np.where(labels == 1, scores, 1 - scores), EPSILON, 1)
        self._losses = np.column_stack([(scores - labels) ** 2, -np.log(hit)]).astype(np.float32)

    def metrics(self, weights: Weights) -> dict[str, Floats]:
        """Every metric of METRICS, shape (resamples,), under `weights` of shape (resamples, leads), in their own order.

        A metric is not a number where the weights leave a class empty.
        """
        brier, log_loss = (weights @ self._losses / weights.sum(axis=1, keepdims=True)).T.astype(np.float64)
        ranked = weights[:, self._order]
        sides = (ranked * self._won, ranked * (1 - self._won))
        # From the best score down to each distinct one, shape (resamples, scores).
        won, lost = (np.cumsum(np.add.reduceat(s, self._starts, axis=1), axis=1, dtype=np.float64) for s in sides)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (
                _auc_roc(won, lost),
                _auc_pr(won, lost),
                brier,
                log_loss,
                _lift(won, lost, 0.1),
                _lift(won, lost, 0.2),
            )
        return dict(zip(METRICS, found, strict=True))


def _auc_roc(won: Floats, lost: Floats) -> Floats:
    """Trapezoid: leads with the same score count as ties, one half each."""
    steps = np.diff(lost, axis=1, prepend=0)
    area = (steps * won).sum(axis=1) - (steps * np.diff(won, axis=1, prepend=0)).sum(axis=1) / 2
    return np.asarray(area / won[:, -1] / lost[:, -1])


def _auc_pr(won: Floats, lost: Floats) -> Floats:
    """Trapezoid from recall 0 with the first precision, as Spark's BinaryClassificationMetrics."""
    met = won + lost
    precision = np.where(met > 0, won / np.maximum(met, 1e-12), np.nan)
    before = np.hstack([precision[:, :1], precision[:, :-1]])
    before = np.where(np.isnan(before), precision, before)
    steps = np.diff(won, axis=1, prepend=0)
    return np.asarray(np.nansum(steps * (before + precision), axis=1) / 2 / won[:, -1])


def _lift(won: Floats, lost: Floats, share: float) -> Floats:
    """Converted leads reached with the best-scored `share` of all, against a random order; ties in random order."""
    met = won + lost
    target = share * met[:, -1]
    upper = (met < target[:, None]).sum(axis=1)
    rows, below = np.arange(len(met)), np.maximum(upper - 1, 0)
    met_below, won_below = (np.where(upper > 0, side[rows, below], 0) for side in (met, won))
    part = (target - met_below) / (met[rows, upper] - met_below)
    return np.asarray((won_below + part * (won[rows, upper] - won_below)) / won[:, -1] / share)
