"""What the forest reaches on the real leads; skipped where they are not."""

import mlflow
import pytest

from features.splits import Split
from pipelines.prepare import run_prepare
from pipelines.settings import Settings
from pipelines.train import run_train


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
            found[features, split] = run_train(spark, settings, features).metrics | {
                f"rows_{side}": n for side, n in result.manifest["rows"].items()
            }
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


def test_honest_features_on_a_grouped_split_lie_where_no_leak_would(trained):
    assert 0.87 <= trained("available", Split.GROUPED)["test_auc_roc"] <= 0.93
