"""The entry point `splits`: one model tested in several ways."""

import mlflow
import pytest

from features.stages import ForestParams
from pipelines.prepare import run_prepare
from pipelines.splits import UnknownSplit, parse_ways, run_splits
from tests.leads import small_csv
from tests.served import small_store

LEADS = 600


@pytest.fixture(scope="module")
def found(spark, tmp_path_factory):
    """What `splits` finds on small leads, by way, and what it logged."""
    folder = tmp_path_factory.mktemp("splits")
    with small_store(folder) as settings:
        run_prepare(spark, settings, str(small_csv(folder / "leads.csv", LEADS)))
        ways = parse_ways("grouped,kfold")
        with pytest.MonkeyPatch.context() as patch:  # fewer folds: 12 fits in place of 36
            patch.setattr("pipelines.splits.FOLDS", 3)
            patch.setattr("evaluation.fitting.FOLDS", 2)
            yield run_splits(spark, settings, ["available"], ways, params=ForestParams(trees=5, depth=4))


def test_k_folds_test_on_every_lead_once(found):
    assert found["available, kfold"].intervals.leads == LEADS


def test_a_split_tests_on_its_share_of_the_leads(found):
    assert found["available, grouped"].intervals.leads == pytest.approx(0.3 * LEADS, rel=0.2)


def test_both_calibration_errors_are_logged_under_the_names_of_set_and_way(found):
    metrics = mlflow.search_runs(search_all_experiments=True, filter_string="tags.entry_point = 'splits'").iloc[0]
    tested = found["available, kfold"]
    logged = [metrics[f"metrics.available_kfold_{name}"] for name in ("ece", "ece_uncalibrated")]
    assert logged == [tested.ece, tested.ece_uncalibrated]


def test_an_unknown_way_is_named_with_those_that_exist():
    with pytest.raises(UnknownSplit, match=r"'sideways'.*grouped, random, newest, kfold"):
        parse_ways("sideways")
