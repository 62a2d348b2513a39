"""Intervals by the group bootstrap, against numbers that are known another way."""

import math

import numpy as np
import pytest

from evaluation.bootstrap import METRICS, Ranked, intervals, paired_differences, resampled
from evaluation.metrics import OneClassOnly
from evaluation.placements import placements, standard_error
from evaluation.scored_sample import ScoredSample

# Two normal populations one standard deviation apart: the area is Phi(1 / sqrt 2).
TRUE_AUC = 0.5 * (1 + math.erf(0.5))


def sample(n=400, seed=0, copies=1, noise=0.3):
    """Leads of two normal populations with a score "a" and a noisier score "b"; each lead `copies` times."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.int8)
    signal = rng.normal(size=n) + labels
    scores = {"a": 1 / (1 + np.exp(-signal)), "b": 1 / (1 + np.exp(-signal - noise * rng.normal(size=n)))}
    return ScoredSample(
        np.tile(labels, copies),
        np.tile(np.arange(n), copies),
        {name: np.tile(values, copies) for name, values in scores.items()},
        {},
        n * copies,
    )


def width(interval):
    return interval.high - interval.low


def measured(labels, scores, weights):
    """The metrics under one row of weights."""
    found = Ranked(np.array(labels, np.int8), np.array(scores)).metrics(np.array([weights], np.float32))
    return {name: float(values[0]) for name, values in found.items()}


def test_the_metrics_of_four_leads_are_those_worked_out_by_hand():
    found = measured([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.2], [1, 1, 1, 1])
    assert found["auc_roc"] == pytest.approx(0.75)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.04) / 4)
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.4, 0.8))) / 4)


def test_equal_scores_count_one_half():
    assert measured([1, 0], [0.5, 0.5], [1, 1])["auc_roc"] == pytest.approx(0.5)


def test_a_weight_of_two_is_the_lead_twice():
    weighted = measured([1, 0, 1], [0.9, 0.6, 0.4], [1, 2, 1])
    assert weighted == pytest.approx(measured([1, 0, 0, 1], [0.9, 0.6, 0.6, 0.4], [1, 1, 1, 1]))


def test_a_weight_of_zero_is_the_lead_left_out():
    weighted = measured([0, 1, 0, 1], [0.95, 0.9, 0.6, 0.4], [0, 1, 1, 1])
    assert weighted == pytest.approx(measured([1, 0, 1], [0.9, 0.6, 0.4], [1, 1, 1]))


def test_lift_at_ten_percent_compares_the_best_tenth_with_all():
    labels, scores = [1, 1] + [0] * 16 + [1, 1], np.linspace(1, 0, 20)
    assert measured(labels, scores, [1] * 20)["lift_at_10"] == pytest.approx((2 / 4) / 0.1)


def test_resamples_that_lose_a_class_are_left_out():
    found = intervals(
        ScoredSample(np.array([1, 0, 0], np.int8), np.arange(3), {"a": np.array([0.9, 0.5, 0.1])}, {}, 3), "a"
    )
    assert math.isfinite(found.metrics["auc_roc"].low)


def test_weights_of_a_resample_add_up_to_the_number_of_groups():
    weights = np.vstack(list(resampled(np.arange(50), 20, seed=1)))
    assert weights.shape == (20, 50)
    assert (weights.sum(axis=1) == 50).all()


def test_leads_of_a_group_are_drawn_together():
    weights = np.vstack(list(resampled(np.array([0, 1, 0, 2]), 20, seed=1)))
    assert (weights[:, 0] == weights[:, 2]).all()


def test_equal_seeds_give_equal_intervals():
    assert intervals(sample(), "a", 50, seed=3) == intervals(sample(), "a", 50, seed=3)


def test_about_95_of_100_intervals_hold_the_true_area():
    held = sum(intervals(sample(100, seed), "a", 100).metrics["auc_roc"].holds(TRUE_AUC) for seed in range(100))
    assert 88 <= held <= 100


def test_the_intervals_width_is_that_of_delongs_normal_approximation():
    leads = sample(500)
    placed = placements(leads.labels, leads.scores["a"])
    normal = 2 * 1.96 * standard_error(leads.labels, leads.groups, placed.shares)
    assert width(intervals(leads, "a").metrics["auc_roc"]) == pytest.approx(normal, rel=0.15)


def test_four_copies_of_each_lead_are_no_further_evidence():
    once, copied = (intervals(sample(300, copies=c), "a", 300).metrics["auc_roc"] for c in (1, 4))
    assert width(copied) == pytest.approx(width(once), rel=0.02)


def test_a_paired_difference_is_known_better_than_either_area():
    leads = sample(600)
    paired = paired_differences(leads, "a", "b", 300).metrics["auc_roc"]
    apart = [width(intervals(leads, name, 300).metrics["auc_roc"]) for name in "ab"]
    assert width(paired) < 0.7 * math.hypot(*apart)


def test_a_model_does_not_differ_from_itself():
    found = paired_differences(sample(), "a", "a", 20)
    assert {(i.value, i.low, i.high) for i in found.metrics.values()} == {(0, 0, 0)}


def test_ends_are_named_after_their_metric():
    assert set(intervals(sample(), "a", 10).flat("test_")) == {
        f"test_{m}_{e}" for m in METRICS for e in ("low", "high")
    }


def test_intervals_of_one_class_are_refused():
    one = ScoredSample(np.ones(3, np.int8), np.arange(3), {"a": np.array([0.1, 0.2, 0.3])}, {}, 3)
    with pytest.raises(OneClassOnly, match="3 leads"):
        intervals(one, "a")
