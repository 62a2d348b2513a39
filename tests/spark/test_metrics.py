"""Metrics of scored leads, against numbers worked out by hand."""

import math

import pytest

from evaluation.metrics import OneClassOnly, evaluate, score_bins, score_bins_by

# Ranked by probability: 1, 0, 1, 0. Of the four pairs (converted, not) three are in order: AUC 0.75.
SCORED = [(1, 0.9, 1.0), (0, 0.6, 1.0), (1, 0.4, 0.0), (0, 0.2, 0.0)]


@pytest.fixture(scope="module")
def found(spark):
    return evaluate(spark.createDataFrame(SCORED, "label int, probability double, prediction double"), "label")


def test_auc_roc_counts_the_ordered_pairs(found):
    assert found["auc_roc"] == pytest.approx(0.75)


def test_accuracy_counts_the_right_predictions(found):
    assert found["accuracy"] == pytest.approx(0.5)


def test_weighted_precision_and_recall_average_both_classes(found):
    assert (found["weighted_precision"], found["weighted_recall"]) == pytest.approx((0.5, 0.5))


def test_brier_is_the_mean_squared_error(found):
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.04) / 4)


def test_log_loss_is_in_nats(found):
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.4, 0.8))) / 4)


def test_a_certain_mistake_costs_a_finite_log_loss(spark):
    frame = spark.createDataFrame([(1, 0.0, 0.0), (0, 0.0, 0.0)], "label int, probability double, prediction double")
    assert math.isfinite(evaluate(frame, "label")["log_loss"])


def test_metrics_of_one_class_are_refused(spark):
    frame = spark.createDataFrame([(1, 0.5, 1.0)], "label int, probability double, prediction double")
    with pytest.raises(OneClassOnly, match="1 rows of one class"):
        evaluate(frame, "label")


def test_score_bins_of_parts_are_those_of_their_leads(spark):
    rows = [(1, 0.9, "A"), (0, 0.8, "A"), (0, 0.1, "D"), (1, 0.5, None)]
    found = score_bins_by(spark.createDataFrame(rows, "label int, p double, grade string"), "label", "grade", "p")
    assert {grade: (bins.n, int(bins.positives.sum())) for grade, bins in found.items()} == {"A": (2, 1), "D": (1, 0)}


def test_score_bins_count_leads_by_label_and_put_one_into_the_last_bin(spark):
    rows = [(1, 1.0), (0, 0.0), (0, 0.05), (1, 0.55)]
    bins = score_bins(spark.createDataFrame(rows, "label int, probability double"), "label", bins=10)
    assert bins.positives.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert bins.negatives.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
