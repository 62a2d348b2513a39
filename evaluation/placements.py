"""The area under the ROC curve as a mean over leads, and thus its standard error without resampling.

DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more correlated ROC curves"; groups of
repeated leads as in Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.curves import Floats
from evaluation.scored_sample import Codes


@dataclass(frozen=True, eq=False)
class Placements:
    """For each lead the share of the other class that it is rightly ordered against (ties: one half); shape (n,)."""

    auc: float
    shares: Floats


def placements(labels: NDArray[np.int8], scores: Floats) -> Placements:
    """Placements of every lead; both classes must be there."""
    won, lost = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    beaten = (np.searchsorted(lost, scores, "left") + np.searchsorted(lost, scores, "right")) / 2 / len(lost)
    above = 1 - (np.searchsorted(won, scores, "left") + np.searchsorted(won, scores, "right")) / 2 / len(won)
    shares = np.where(labels == 1, beaten, above)
    return Placements(float(shares[labels == 1].mean()), shares)


def standard_error(labels: NDArray[np.int8], groups: Codes, shares: Floats) -> float:
    """Standard error of an area, or of a difference of areas, from its placements or their differences."""
    centred = np.where(
        labels == 1,
        (shares - shares[labels == 1].mean()) / (labels == 1).sum(),
        (shares - shares[labels == 0].mean()) / (labels == 0).sum(),
    )
    # Leads of one group move together: their parts add up before they are squared.
    parts = np.bincount(groups, centred)
    count = len(np.unique(groups))
    return float(np.sqrt((parts**2).sum() * count / max(count - 1, 1)))
