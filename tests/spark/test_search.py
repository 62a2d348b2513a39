"""Cross-validation of forests on features that are encoded once."""

import pytest
from pyspark.sql import functions as F

from evaluation.search import FOLD, candidates_table, cross_validate, cross_validate_one, encoded
from features.splits import GROUP, with_group
from features.stages import ForestParams
from tests.leads import small_contract, small_leads

CANDIDATES = [ForestParams(trees=1, depth=1), ForestParams(trees=10, depth=4)]


@pytest.fixture(scope="module")
def data(spark):
    contract = small_contract()
    train = with_group(small_leads(spark, 600), contract)
    with encoded(train, contract.feature_set("available"), contract.label.name, folds=3, seed=1) as found:
        yield found


@pytest.fixture(scope="module")
def found(data):
    return cross_validate(data, CANDIDATES, "auc_roc", parallelism=2, seed=1)


def test_candidates_come_back_in_the_order_given(found):
    assert [c.params for c in found] == CANDIDATES


def test_a_deeper_forest_beats_a_stump(found):
    assert found[1].mean > found[0].mean


def test_each_candidate_has_its_own_fit_seconds(found):
    assert all(c.fit_seconds > 0 for c in found)
    assert found[0].fit_seconds != found[1].fit_seconds


def test_one_candidate_alone_scores_as_in_the_grid(data, found):
    alone = cross_validate_one(data, CANDIDATES[1], "auc_roc", parallelism=2)
    assert (alone.mean, alone.params) == (pytest.approx(found[1].mean, abs=1e-9), CANDIDATES[1])


def test_features_are_cached_and_every_fold_is_used(data):
    assert data.leads.is_cached
    assert {r[0] for r in data.leads.select(FOLD).distinct().collect()} == {0, 1, 2}


def test_beside_the_features_lie_the_label_and_what_keeps_repeats_together_alone(data):
    assert set(data.leads.columns) == {"features", small_contract().label.name, FOLD, GROUP}
    assert data.leads.where(F.col("features").isNull()).count() == 0


def test_the_table_lists_the_best_candidate_first(found):
    assert [row["trees"] for row in candidates_table(found, "auc_roc")] == [10, 1]
