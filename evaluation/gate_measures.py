"""Candidate and Production on the same leads: areas, paired differences, calibration and slices, from arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import Interval, interval, intervals, paired_differences, resampled
from evaluation.curves import Floats, ScoreBins, expected_calibration_error, reliability
from evaluation.errors import EvaluationError
from evaluation.gate_conditions import GateConditions
from evaluation.grouped_rates import FEW_OF_A_CLASS, GroupedRate
from evaluation.scored_sample import ScoredSample

CANDIDATE, PRODUCTION, NEWEST = "candidate", "production", "newest"
SLICE_RESAMPLES, BINS = 400, 1000


class NotScores(EvaluationError):
    """A model gave something else than probabilities."""


@dataclass(frozen=True)
class SliceMeasure:
    """The test leads with one value of one field.

    `auc_change` is the candidate's ROC AUC on them less Production's, or less the candidate's own on all leads where
    nothing is in Production (None where few groups of the slice hold a lead of a class). `promised` is the mean score
    less the observed rate, for the candidate and for Production.
    """

    field: str
    value: str
    leads: int
    auc_change: Interval | None
    promised: Interval
    production_promised: float | None

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


@dataclass(frozen=True)
class Measured:
    """The newest test leads (`leads` of them) measured for both models, and calibration and slices on all of them.

    Differences are candidate less Production. What concerns Production is None where nothing is in it.
    """

    leads: int
    all_leads: int
    auc: Interval
    production_auc: float | None
    brier: Interval
    production_brier: float | None
    auc_difference: Interval | None
    brier_difference: Interval | None
    ece: float
    production_ece: float | None
    slices: tuple[SliceMeasure, ...]

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a run."""
        found: dict[str, float | None] = {
            "gate_leads": float(self.leads),
            "candidate_auc_roc": self.auc.value,
            "production_auc_roc": self.production_auc,
            "candidate_brier": self.brier.value,
            "production_brier": self.production_brier,
            "candidate_ece": self.ece,
            "production_ece": self.production_ece,
        }
        for name, difference in (("auc_roc", self.auc_difference), ("brier", self.brier_difference)):
            if difference is not None:
                found |= {f"{name}_difference_{k}": v for k, v in difference.as_dict().items()}
        return {name: value for name, value in found.items() if value is not None}


def measure(sample: ScoredSample, conditions: GateConditions) -> Measured:
    """Measure both models on one sample.

    `sample` has the scores `candidate` and, where a version is in Production, `production`; its words are `newest`
    (booleans) and one column per field to slice by. NotScores where a score is no probability; OneClassOnly where
    the newest leads lack a class.
    """
    for name, scores in sample.scores.items():
        wrong = int((~((scores >= 0) & (scores <= 1))).sum())
        if wrong:
            raise NotScores(
                f"{wrong:,} of {sample.n:,} scores of the {name} are no probabilities; nothing is compared."
            )
    newest = sample.only(sample.words[NEWEST].astype(bool))
    champion = PRODUCTION in sample.scores
    change = paired_differences(newest, CANDIDATE, PRODUCTION).metrics if champion else None
    mine = intervals(newest, CANDIDATE).metrics
    auc, brier = mine["auc_roc"], mine["brier"]
    return Measured(
        leads=newest.n,
        all_leads=sample.n,
        auc=auc,
        production_auc=auc.value - change["auc_roc"].value if change else None,
        brier=brier,
        production_brier=brier.value - change["brier"].value if change else None,
        auc_difference=change["auc_roc"] if change else None,
        brier_difference=change["brier"] if change else None,
        ece=calibration_error(sample, CANDIDATE),
        production_ece=calibration_error(sample, PRODUCTION) if champion else None,
        slices=_slices(sample, conditions.min_slice_leads),
    )


def calibration_error(sample: ScoredSample, score: str) -> float:
    """Expected calibration error of one model in ten groups of equal size."""
    return expected_calibration_error(reliability(bins_of(sample.labels, sample.scores[score])))


def bins_of(labels: NDArray[np.int8], scores: Floats, bins: int = BINS) -> ScoreBins:
    """Histogram of scores by label, as `score_bins` makes it in Spark."""
    at = np.minimum((scores * bins).astype(int), bins - 1)
    won = np.bincount(at, labels, bins).astype(np.int64)
    return ScoreBins(won, np.bincount(at, minlength=bins) - won, np.bincount(at, scores, bins).astype(np.float64))


def _slices(sample: ScoredSample, fewest: int) -> tuple[SliceMeasure, ...]:
    """The slices of at least `fewest` groups, which are leads with repeats counted once.

    The bootstrap draws groups: of a few large ones it would make intervals that look surer than they are.
    """
    whole = intervals(sample, CANDIDATE, resamples=1).metrics["auc_roc"].value
    found = []
    for field in (name for name in sample.words if name != NEWEST):
        words = sample.words[field].astype(str)
        for value in np.unique(words):
            part = sample.only(words == value)
            if len(np.unique(part.groups)) >= fewest:
                found.append(_slice(part, field, str(value), whole))
    return tuple(found)


def _slice(part: ScoredSample, field: str, value: str, whole: float) -> SliceMeasure:
    champion, grouped = PRODUCTION in part.scores, GroupedRate.of(part.groups, part.labels)
    change: Interval | None = None
    if grouped.of_the_rarer_class >= FEW_OF_A_CLASS:
        if champion:
            change = paired_differences(part, CANDIDATE, PRODUCTION, SLICE_RESAMPLES).metrics["auc_roc"]
        else:
            own = intervals(part, CANDIDATE, SLICE_RESAMPLES).metrics["auc_roc"]
            change = Interval(own.value - whole, own.low - whole, own.high - whole)
    over = {name: scores - part.labels for name, scores in part.scores.items()}
    production = float(over[PRODUCTION].mean()) if champion else None
    return SliceMeasure(field, value, part.n, change, _mean(part, over[CANDIDATE]), production)


def _mean(part: ScoredSample, values: Floats) -> Interval:
    """Mean of a value per lead with its interval, resampled by groups of repeated leads."""
    drawn = [w @ values.astype(np.float32) / w.sum(axis=1) for w in resampled(part.groups, SLICE_RESAMPLES, seed=0)]
    return interval(float(values.mean()), np.concatenate(drawn))
