"""What the forest reaches on the real leads; skipped where they are not."""

from itertools import pairwise

import mlflow
import pytest

from evaluation.fitting import Finish
from features.splits import Split
from pipelines.prepare import run_prepare
from pipelines.settings import Settings
from pipelines.training import run_train


@pytest.fixture(scope="module")
def trained(spark, leads_csv, tmp_path_factory):
    """Metrics of a feature set trained on a split, each pair once."""
    folder, found = tmp_path_factory.mktemp("real"), {}
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")

    def train(features, split):
        if (features, split) not in found:
            settings = Settings(data=str(folder / split.value))
            result = run_prepare(spark, settings, str(leads_csv), split)
            # The published figures are those of a plain forest.
            finish = Finish(calibrate="none") if features == "documented" else None
            reported = run_train(spark, settings, features, finish=finish, register=False, explain=False)
            rows = {f"rows_{side}": n for side, n in result.manifest["rows"].items()}
            found[features, split] = reported.metrics | rows
        return found[features, split]

    yield train
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("metric", "least"),
    [("auc_roc", 0.96), ("accuracy", 0.88), ("weighted_precision", 0.88), ("weighted_recall", 0.86)],
)
def test_the_documented_features_reach_what_was_published(trained, metric, least):
    assert trained("documented", Split.RANDOM)[f"test_{metric}"] >= least


def test_a_random_split_has_the_published_sizes(trained):
    rows = trained("documented", Split.RANDOM)
    assert (rows["rows_train"], rows["rows_test"]) == (pytest.approx(6468, abs=5), pytest.approx(2772, abs=5))


@pytest.fixture(scope="module")
def honest(trained):
    return trained("available", Split.GROUPED)


def test_documented_features_look_better_than_a_new_lead_allows(trained, honest):
    assert trained("documented", Split.RANDOM)["test_auc_roc"] - honest["test_auc_roc"] > 0.03


def test_without_its_late_fields_the_documented_forest_falls_on_the_same_leads(trained):
    documented = trained("documented", Split.RANDOM)
    assert documented["test_auc_roc"] - documented["honest_auc_roc"] > 0.03


def test_calibrated_scores_are_rates(honest):
    assert honest["test_ece"] <= 0.03 < honest["test_ece_uncalibrated"]


def test_the_best_tenth_of_the_leads_converts_twice_as_often_as_all(honest):
    assert honest["test_lift_at_10"] > 2


def test_a_better_grade_converts_more_often(honest):
    rates = [honest[f"test_grade_{grade}_rate"] for grade in "abcd"]
    assert all(better > worse for better, worse in pairwise(rates))


def test_honest_features_on_a_grouped_split_lie_where_no_leak_would(honest):
    assert 0.87 <= honest["test_auc_roc"] <= 0.93
