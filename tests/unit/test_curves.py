"""evaluation/curves.py: curves and rates that can be worked out by hand from a few bins."""

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.curves import (
    EmptyClass,
    ScoreBins,
    calibration_error_in_parts,
    confusion,
    cumulative_gains,
    expected_calibration_error,
    pr_curve,
    reliability,
    roc_curve,
    wilson_interval,
)
from evaluation.errors import EvaluationError


def bins_of(positives: list[int], negatives: list[int], scores: list[float] | None = None) -> ScoreBins:
    """Bins whose leads all have the score in the middle of their bin, unless the sums are given."""
    won, lost = np.array(positives), np.array(negatives)
    middles = (np.arange(len(won)) + 0.5) / len(won)
    return ScoreBins(won, lost, np.array(scores) if scores else middles * (won + lost))


# Scores .1 .3 .6 .9 of four bins, one lead each: not converted, converted, not converted, converted.
MIXED = bins_of([0, 1, 0, 1], [1, 0, 1, 0])
PERFECT = bins_of([0, 0, 2, 3], [4, 1, 0, 0])


def test_bins_refuse_arrays_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="one shape"):
        ScoreBins(np.zeros(3, int), np.zeros(4, int), np.zeros(3))


def test_a_perfect_separation_has_a_roc_area_of_1() -> None:
    assert roc_curve(PERFECT).area == 1.0


def test_a_reversed_order_has_a_roc_area_of_0() -> None:
    assert roc_curve(bins_of([4, 0], [0, 4])).area == 0.0


def test_the_roc_area_is_the_share_of_pairs_in_the_right_order() -> None:
    assert roc_curve(MIXED).area == 3 / 4


def test_leads_of_one_bin_count_as_half_a_pair() -> None:
    assert roc_curve(bins_of([0, 2, 0], [0, 3, 0])).area == 0.5


def test_the_roc_curve_runs_from_no_lead_to_all_leads() -> None:
    curve = roc_curve(MIXED)
    assert list(zip(curve.false_positive_rate, curve.true_positive_rate, strict=True)) == [
        (0, 0),
        (0, 0.5),
        (0.5, 0.5),
        (0.5, 1),
        (1, 1),
    ]


def test_roc_thresholds_are_lower_edges_of_bins_that_hold_leads() -> None:
    assert roc_curve(bins_of([0, 0, 0, 1], [1, 0, 0, 0])).thresholds.tolist() == [np.inf, 0.75, 0]


def test_the_roc_area_does_not_depend_on_how_many_leads_convert() -> None:
    rarer = bins_of([0, 1, 0, 1], [10, 0, 10, 0])
    assert roc_curve(rarer).area == roc_curve(MIXED).area


def test_precision_and_recall_fall_with_the_threshold_as_counted_by_hand() -> None:
    curve = pr_curve(MIXED)
    assert curve.recall.tolist() == [0, 0.5, 0.5, 1, 1]
    assert curve.precision.tolist() == [1, 1, 1 / 2, 2 / 3, 1 / 2]


def test_the_precision_recall_area_is_the_trapezoids_from_the_first_precision() -> None:
    assert pr_curve(MIXED).area == pytest.approx(0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2)


def test_the_base_rate_is_the_share_of_converted_leads() -> None:
    assert pr_curve(PERFECT).base_rate == 0.5


def test_the_confusion_matrix_has_actual_rows_and_predicted_columns() -> None:
    assert confusion(bins_of([1, 2, 3, 4], [50, 60, 70, 80])).tolist() == [[110, 150], [3, 7]]


def test_the_confusion_matrix_sums_to_all_leads() -> None:
    bins = bins_of([1, 2, 3, 4], [50, 60, 70, 80])
    assert confusion(bins, threshold=0.25).sum() == bins.n == 270


@pytest.mark.parametrize(("threshold", "predicted"), [(0.0, 4), (1.0, 0)])
def test_the_threshold_decides_how_many_are_predicted_to_convert(threshold: float, predicted: int) -> None:
    assert confusion(MIXED, threshold)[:, 1].sum() == predicted


def test_a_threshold_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        confusion(MIXED, threshold=50)


def test_reliability_tells_mean_prediction_and_observed_rate_of_each_group() -> None:
    bins = bins_of([1, 0, 0, 3], [3, 0, 0, 1], scores=[0.8, 0, 0, 3.6])
    groups = reliability(bins, groups=2)
    assert groups.predicted.tolist() == [0.2, 0.9]
    assert groups.observed.tolist() == [0.25, 0.75]
    assert groups.leads.tolist() == [4, 4]


def test_reliability_groups_are_of_equal_size_where_the_bins_allow() -> None:
    assert reliability(bins_of([1] * 100, [1] * 100), groups=10).leads.tolist() == [20] * 10


def test_a_bin_is_never_split_between_reliability_groups() -> None:
    assert reliability(bins_of([0, 90, 5], [5, 0, 0]), groups=10).leads.sum() == 100
    assert 90 in reliability(bins_of([0, 90, 5], [5, 0, 0]), groups=10).leads


def test_the_observed_rate_lies_within_its_interval() -> None:
    groups = reliability(bins_of([0, 3, 9, 10], [10, 7, 1, 0]), groups=4)
    assert ((groups.low <= groups.observed) & (groups.observed <= groups.high)).all()


def test_the_wilson_interval_of_8_in_10_is_the_textbooks() -> None:
    low, high = wilson_interval(np.array([8]), np.array([10]))
    assert (low[0], high[0]) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_the_wilson_interval_of_no_hit_starts_at_0_and_is_not_empty() -> None:
    low, high = wilson_interval(np.array([0]), np.array([10]))
    assert low[0] == 0
    assert high[0] == pytest.approx(0.2775, abs=1e-4)


def test_the_calibration_error_of_few_leads_is_of_groups_of_a_hundred() -> None:
    # 100 leads at 0.05 of which 10 converted, and 100 at 0.95 of which 70 did: in two groups; of 80 leads each, in one.
    def bins(n: int) -> ScoreBins:
        won, lost = np.zeros(10, int), np.zeros(10, int)
        won[[0, 9]], lost[[0, 9]] = (n // 10, 7 * n // 10), (9 * n // 10, 3 * n // 10)
        return ScoreBins(won, lost, np.array([0.05 * n, *[0] * 8, 0.95 * n]))

    assert calibration_error_in_parts(bins(100)) == pytest.approx((0.05 + 0.25) / 2)
    assert calibration_error_in_parts(bins(80)) == pytest.approx(abs(0.5 - 0.4))


def test_the_calibration_error_weighs_groups_by_their_leads() -> None:
    # Eight leads are off by .05 and two by .3.
    bins = bins_of([2, 1], [6, 1], scores=[1.6, 1.6])
    assert expected_calibration_error(reliability(bins, groups=2)) == pytest.approx(0.8 * 0.05 + 0.2 * 0.3)


def test_lift_at_all_leads_is_1() -> None:
    gains = cumulative_gains(MIXED)
    assert gains.lift[-1] == 1
    assert gains.at(1.0) == (1, 1)


def test_the_best_half_of_a_perfect_order_reaches_all_converted_leads() -> None:
    assert cumulative_gains(PERFECT).at(0.5) == (1, 2)


def test_leads_of_one_bin_are_reached_in_random_order() -> None:
    # The best bin holds 4 of 10 leads and 3 of 4 converted ones; half of it reaches half of them.
    assert cumulative_gains(bins_of([1, 3], [5, 1])).at(0.2) == pytest.approx((0.375, 1.875))


def test_gains_refuse_a_share_of_no_lead() -> None:
    with pytest.raises(ValueError, match="above 0"):
        cumulative_gains(MIXED).at(0)


@pytest.mark.parametrize("curve", [roc_curve, pr_curve, confusion, cumulative_gains])
@pytest.mark.parametrize(("positives", "negatives"), [([0, 0], [3, 4]), ([3, 4], [0, 0]), ([0, 0], [0, 0])])
def test_an_empty_class_is_refused_by_name(
    curve: Callable[[ScoreBins], object], positives: list[int], negatives: list[int]
) -> None:
    with pytest.raises(EmptyClass, match="both classes"):
        curve(bins_of(positives, negatives))


def test_an_empty_class_is_told_with_the_counts_found() -> None:
    with pytest.raises(EvaluationError, match="0 converted and 1,200 not converted; a ROC curve needs both classes"):
        roc_curve(bins_of([0, 0], [500, 700]))


def test_reliability_takes_one_class_but_not_none() -> None:
    assert reliability(bins_of([0, 0], [3, 4]), groups=1).observed.tolist() == [0]
    with pytest.raises(EmptyClass, match="at least one scored lead"):
        reliability(bins_of([0, 0], [0, 0]))
