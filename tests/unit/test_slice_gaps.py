"""Gaps of slices from arrays: what they tell of each part, before calibration and after."""

import numpy as np
import pytest

from evaluation.metrics import OneClassOnly
from evaluation.scored_sample import ScoredSample
from evaluation.slice_gaps import EVERYONE, Gaps, slice_gaps

PUNE, GOA = ("City", "Pune"), ("City", "Goa")
LABELS = np.arange(400) % 2
SERVED = np.where(LABELS == 1, 0.7, 0.3)


def gaps(labels=LABELS, scores=("served", "forest")):
    """Gaps of two halves; the forest promises a tenth more than the served score."""
    sample = ScoredSample(
        labels.astype(np.int8), np.arange(400), {"served": SERVED, "forest": SERVED + 0.1}, {}, total=400
    )
    half = np.arange(400) < 200
    return slice_gaps(sample, scores, {PUNE: half, GOA: ~half}, resamples=50, seed=0)


def test_the_calibration_gap_before_calibration_is_that_of_the_forest_s_own_score():
    found = gaps()[PUNE]
    assert (found.calibration_gap.value, found.calibration_gap_uncalibrated.value) == pytest.approx((0, 0.1), abs=1e-6)


def test_the_gap_before_calibration_has_an_interval_by_the_same_resamples():
    served, before = gaps()[PUNE].calibration_gap, gaps()[PUNE].calibration_gap_uncalibrated
    assert (before.low, before.high) == pytest.approx((served.low + 0.1, served.high + 0.1), abs=1e-6)


def test_without_a_score_before_calibration_there_is_no_gap_before():
    assert gaps(scores=("served",))[PUNE].calibration_gap_uncalibrated is None


def test_a_part_without_both_classes_or_without_leads_has_no_gaps():
    assert gaps(np.where(np.arange(400) < 200, LABELS, 0))[GOA] == Gaps()


def test_all_leads_have_no_gap_to_themselves():
    assert gaps()[EVERYONE].auc_gap.value == 0


def test_leads_of_one_class_are_refused():
    with pytest.raises(OneClassOnly, match="400 leads to slice are of one class"):
        gaps(np.zeros(400))
