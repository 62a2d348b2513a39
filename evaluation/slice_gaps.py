"""How far the measures of parts of the leads lie from those of all, with intervals by groups of repeated leads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import Ranked, Weights, interval, resampled
from evaluation.curves import Floats
from evaluation.metrics import OneClassOnly
from evaluation.scored_sample import ScoredSample

Part = tuple[str, str]
EVERYONE: Part = ("", "")


@dataclass(frozen=True)
class Gaps:
    """Measures of one part of the leads, each an Interval, or None where the part lacks a class.

    `auc_gap` and `brier_gap` are less those of all leads; a calibration gap is the mean score less the observed rate,
    of the served score and, None without one, of the score before calibration.
    """

    auc: Any = None
    auc_gap: Any = None
    brier_gap: Any = None
    calibration_gap: Any = None
    calibration_gap_uncalibrated: Any = None


def slice_gaps(
    sample: ScoredSample, scores: Sequence[str], parts: Mapping[Part, NDArray[np.bool_]], resamples: int, seed: int
) -> dict[Part, Gaps]:
    """Gaps of each of `parts` (which leads of the sample it holds, shape (n,)), and of all leads under EVERYONE.

    `scores` names the served score and, where the model calibrates, the one before. OneClassOnly where all leads have
    one label.
    """
    masks = {EVERYONE: np.ones(sample.n, bool), **parts}
    ranked = {key: _ranked(sample, scores[0], mask) for key, mask in masks.items() if _both(sample, mask)}
    if EVERYONE not in ranked:
        raise OneClassOnly(
            f"the {sample.n:,} leads to slice are of one class only; both converted and not converted leads are "
            "needed. Prepare more leads, or another split."
        )
    drawn: dict[Part, list[Floats]] = {key: [] for key in ranked}
    for weights in (np.ones((1, sample.n), np.float32), *resampled(sample.groups, resamples, seed)):
        auc, brier = _order(ranked[EVERYONE], weights)
        for key, part in ranked.items():
            mine = weights[:, masks[key]]
            own_auc, own_brier = _order(part, mine)
            over = [_promised(sample, score, masks[key], mine) for score in scores]
            drawn[key].append(np.stack([own_auc, own_auc - auc, own_brier - brier, *over]))
    made = {key: np.concatenate(found, axis=1) for key, found in drawn.items()}
    spans = {key: [interval(float(row[0]), row[1:]) for row in found] for key, found in made.items()}
    return {key: Gaps(*spans.get(key, ())) for key in masks}


def _both(sample: ScoredSample, mask: NDArray[np.bool_]) -> bool:
    """Whether a part holds both classes."""
    return bool(0 < sample.labels[mask].sum() < mask.sum())


def _ranked(sample: ScoredSample, score: str, mask: NDArray[np.bool_]) -> Ranked:
    return Ranked(sample.labels[mask], sample.scores[score][mask])


def _order(part: Ranked, weights: Weights) -> tuple[Floats, Floats]:
    """AUC and Brier score under the weights of the part's leads, each of the shape (resamples,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = part.metrics(weights)
    return found["auc_roc"], found["brier"]


def _promised(sample: ScoredSample, score: str, mask: NDArray[np.bool_], weights: Weights) -> Floats:
    """Mean score less observed rate under the weights of the part's leads, shape (resamples,)."""
    over = (sample.scores[score][mask] - sample.labels[mask]).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights @ over / weights.sum(axis=1), np.float64)
