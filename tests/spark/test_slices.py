"""Slices of scored leads, worked out by hand or by construction."""

import random

import numpy as np
import pytest
from pyspark.sql import functions as F

from evaluation.curves import wilson_interval
from evaluation.slices import MISSING, OTHER, slice_report
from features.contract import Contract
from features.contract_file import parse_yaml
from tests.leads import SMALL

COLUMNS = "Bought int, lead_group long, City string, Visits double, p double, grade string"


def sliced(*names):
    text = SMALL.replace("feature_sets:", f"slice_by: [{', '.join(names)}]\nfeature_sets:")
    return parse_yaml(text, Contract, "sliced.yaml").sliced


def rows(n=800):
    """In Mumbai the score is the label with noise; in Pune it is noise; two leads live in Delhi."""
    rng = random.Random(1)
    for i in range(n):
        label, city = i % 2, "Pune" if i % 4 < 2 else "Mumbai"
        score = 0.5 * rng.random() + (0.3 * label if city == "Mumbai" else 0.15)
        yield (label, i, city, float(i % 8), score, "A" if score > 0.5 else "D")
    yield (1, n, "Delhi", None, 0.9, "A")
    yield (0, n + 1, None, None, 0.1, "D")


@pytest.fixture(scope="module")
def report(spark):
    scored = (
        spark.createDataFrame(list(rows()), COLUMNS).withColumn("forest", F.least(F.col("p") + 0.3, F.lit(1))).cache()
    )
    return slice_report(scored, "Bought", "p", sliced("City", "Visits"), "forest", resamples=100)


def by(report, field):
    return {s.value: s for s in report.of(field)}


def test_the_worst_slice_comes_first(report):
    assert (report.of("City")[0].value, report.worst_ordered.value) == ("Pune", "Pune")


def test_the_gap_of_a_bad_slice_is_surely_below_zero(report):
    assert by(report, "City")["Pune"].auc_gap.high < 0


def test_counts_rates_and_mean_scores_are_of_all_leads(report):
    pune = by(report, "City")["Pune"]
    assert (pune.leads, pune.rate) == (400, 0.5)
    assert pune.mean_score == pytest.approx(0.4, abs=0.02)


def test_values_of_few_leads_are_summed_up_and_marked_as_small(report):
    others = by(report, "City")[OTHER]
    assert (others.leads, others.small) == (2, True)


def test_grade_shares_add_up(report):
    assert sum(by(report, "City")["Mumbai"].grades.values()) == pytest.approx(1)


def test_a_number_is_sliced_by_its_buckets(report):
    assert {"0 to under 2", "2 to under 5", "5 and more"} <= set(by(report, "Visits"))


def test_the_calibration_gap_is_the_mean_score_less_the_rate(report):
    pune = by(report, "City")["Pune"]
    assert pune.calibration_gap.value == pytest.approx(pune.mean_score - pune.rate, abs=1e-6)


def test_a_small_slice_is_never_the_worst(spark):
    few = [(1, i, "Delhi", 1.0, 0.1, None) for i in range(15)] + [(0, 99, "Delhi", 1.0, 0.9, None)]
    scored = spark.createDataFrame([*rows(), *((y, g + 5000, *rest) for y, g, *rest in few)], COLUMNS).cache()
    found = slice_report(scored, "Bought", "p", sliced("City"), resamples=50)
    assert (by(found, "City")["Delhi"].small, found.worst.value) == (True, "Pune")


@pytest.fixture(scope="module")
def beside_repeats(spark):
    """The cities where 200 leads live in Goa, in ten groups which each do the same and have one grade; no forest."""
    goa = [(i % 2, 5000 + i % 10, "Goa", 1.0, 0.5, "AB"[i % 2]) for i in range(200)]
    scored = spark.createDataFrame([*rows(), *goa], COLUMNS).cache()
    return by(slice_report(scored, "Bought", "p", sliced("City"), resamples=50), "City")


def test_a_slice_of_many_leads_in_few_groups_is_small(beside_repeats):
    found = beside_repeats["Goa"]
    assert (found.leads, found.groups, found.small) == (200, 10, True)


def test_repeated_leads_widen_the_interval_of_a_grade_s_share(beside_repeats):
    found = beside_repeats["Goa"]
    # Ten groups, five of which are graded A.
    low, high = wilson_interval(np.array([5]), np.array([10]))
    assert found.grades["A"] == 0.5
    assert (found.grades_low["A"], found.grades_high["A"]) == pytest.approx((low[0], high[0]), abs=0.03)


def test_without_repeats_the_interval_of_a_grade_s_share_is_wilson_s(report):
    pune = by(report, "City")["Pune"]
    low, high = wilson_interval(np.array([pune.grades["A"] * 400]), np.array([400]))
    assert (pune.grades_low["A"], pune.grades_high["A"]) == pytest.approx((low[0], high[0]), abs=1e-3)


def test_a_grade_that_no_lead_of_a_slice_has_may_still_have_a_share(report):
    pune = by(report, "City")["Pune"]
    assert (pune.grades["B"], pune.grades_low["B"]) == (0, 0)
    assert 0 < pune.grades_high["B"] < 0.02


def test_a_small_slice_has_wide_intervals_of_its_grade_shares(report):
    others = by(report, "City")[OTHER]
    assert (others.small, others.grades["A"]) == (True, 0.5)
    assert others.grades_high["A"] - others.grades_low["A"] > 0.6


def test_repeated_leads_widen_the_interval_of_a_slice_s_rate(beside_repeats, report):
    found, pune = beside_repeats["Goa"], by(report, "City")["Pune"]
    assert found.rate_high - found.rate_low > 0.4
    assert (pune.rate_low, pune.rate_high) == (pytest.approx(0.451, abs=0.002), pytest.approx(0.549, abs=0.002))


def test_a_slice_has_a_calibration_error_unless_it_is_small(report):
    found = by(report, "City")
    # Pune's scores, 0.15 to 0.65, say nothing of its rate of one half: the mean distance in four parts.
    assert (found["Pune"].ece, found[OTHER].ece) == (pytest.approx(0.15, abs=0.06), None)


def test_the_figures_before_calibration_are_of_the_forest_s_own_score(report):
    # The forest says three tenths more than what is served; in Pune that is 0.7 where one half converts.
    pune = by(report, "City")["Pune"]
    assert pune.mean_score_uncalibrated == pytest.approx(pune.mean_score + 0.3)
    assert pune.ece_uncalibrated == pytest.approx(0.2, abs=0.03)
    assert pune.calibration_gap_uncalibrated.low > 0.1 > pune.calibration_gap.high


def test_a_small_slice_has_no_calibration_error_before_calibration(report):
    assert by(report, "City")[OTHER].ece_uncalibrated is None


def test_without_a_calibration_nothing_is_told_of_before(beside_repeats):
    found = beside_repeats["Pune"]
    assert found.ece is not None
    before = (found.mean_score_uncalibrated, found.ece_uncalibrated, found.calibration_gap_uncalibrated)
    assert before == (None, None, None)


def test_leads_without_a_column_of_grades_have_no_shares(spark):
    scored = spark.createDataFrame(list(rows(200)), COLUMNS).drop("grade").cache()
    found = slice_report(scored, "Bought", "p", sliced("City"), resamples=2).slices[0]
    assert (found.grades, found.grades_low, found.grades_high) == ({}, {}, {})


def test_an_unanswered_field_is_a_slice(spark):
    unanswered = [(i % 2, i, None, 1.0, i / 30, None) for i in range(30)]
    scored = spark.createDataFrame(unanswered, COLUMNS).cache()
    found = slice_report(scored, "Bought", "p", sliced("City"), resamples=10)
    assert [(s.value, s.leads, s.grades, s.grades_low) for s in found.slices] == [(MISSING, 30, {}, {})]


def test_without_a_field_to_slice_by_there_is_no_report(spark):
    assert slice_report(spark.createDataFrame(list(rows(8)), COLUMNS), "Bought", "p", ()) is None
