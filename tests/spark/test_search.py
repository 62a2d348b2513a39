"""Cross-validation of forests on features that are encoded once."""

import threading

import pytest
from pyspark.ml.classification import RandomForestClassifier
from pyspark.sql import functions as F

from evaluation.search import (
    FOLD,
    candidates_table,
    cross_validate,
    cross_validate_one,
    encoded,
    first_trees,
    refit,
)
from features.splits import AGE, GROUP, with_group
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


@pytest.fixture(scope="module")
def larger(data):
    """A forest of ten trees on all leads."""
    return refit(data, CANDIDATES[1])


def test_the_first_trees_of_a_forest_are_a_forest_of_their_mean_vote(data, larger):
    few = first_trees(larger, 3)
    row = data.leads.select("features").first()
    votes = [tree.predictProbability(row.features)[1] for tree in larger.trees[:3]]
    assert few.getNumTrees == 3
    assert few.predictProbability(row.features)[1] == pytest.approx(sum(votes) / 3)


@pytest.fixture
def fits(monkeypatch):
    """A list that grows with every fit of a forest."""
    made, fit = [], RandomForestClassifier.fit
    monkeypatch.setattr(RandomForestClassifier, "fit", lambda *given: made.append(1) or fit(*given))
    return made


@pytest.mark.parametrize("parallelism", [1, 2])
def test_no_more_forests_are_fitted_at_a_time_than_asked_for(data, monkeypatch, parallelism):
    fit, lock, now, most = RandomForestClassifier.fit, threading.Lock(), [0], [0]

    def counted(*given):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return fit(*given)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(RandomForestClassifier, "fit", counted)
    cross_validate_one(data, ForestParams(trees=1, depth=1), "auc_roc", parallelism=parallelism)
    stumps = [ForestParams(trees=1, depth=depth) for depth in (1, 2)]
    cross_validate(data, stumps, "auc_roc", parallelism=parallelism, seed=1)
    assert most[0] == parallelism


def test_one_tree_alone_is_no_part_of_a_forest(data, fits):
    cross_validate(data, [ForestParams(trees=n, depth=2) for n in (1, 2)], "auc_roc", parallelism=2, seed=1)
    assert len(fits) == 2 * data.folds + 1


def test_candidates_that_differ_in_trees_alone_are_fitted_once_a_fold(data, fits):
    family = [ForestParams(trees=n, depth=3) for n in (2, 10, 5)]
    found = cross_validate(data, family, "auc_roc", parallelism=2, seed=1)
    assert [c.params.trees for c in found] == [2, 10, 5]
    assert len(fits) == data.folds + 1  # and the validator's own fit of the best one
    seconds = [c.fit_seconds for c in found]
    assert seconds[1:] == pytest.approx([5 * seconds[0], 2.5 * seconds[0]])


def test_each_fold_grows_its_forests_from_a_seed_of_its_own(data, monkeypatch):
    seeds, fit = [], RandomForestClassifier.fit
    monkeypatch.setattr(
        RandomForestClassifier, "fit", lambda one, leads, asked: seeds.append(asked[one.seed]) or fit(one, leads, asked)
    )
    cross_validate(data, [ForestParams(trees=2, depth=2, seed=7)], "auc_roc", parallelism=2, seed=1)
    assert seeds[: data.folds] == [7, 8, 9]


def test_a_candidate_that_shares_trees_scores_as_its_own_forest_does_but_for_chance(data):
    family = [ForestParams(trees=n, depth=3) for n in (20, 60)]
    shared = cross_validate(data, family, "auc_roc", parallelism=2, seed=1)[0]
    alone = cross_validate_one(data, family[0], "auc_roc", parallelism=2)
    assert shared.mean == pytest.approx(alone.mean, abs=0.02)


def test_features_are_cached_and_every_fold_is_used(data):
    assert data.leads.is_cached
    assert {r[0] for r in data.leads.select(FOLD).distinct().collect()} == {0, 1, 2}


def test_beside_the_features_lie_the_label_the_age_and_what_keeps_repeats_together_alone(data):
    assert set(data.leads.columns) == {"features", small_contract().label.name, FOLD, GROUP, AGE}
    assert data.leads.where(F.col("features").isNull()).count() == 0


def test_the_table_lists_the_best_candidate_first(found):
    assert [row["trees"] for row in candidates_table(found, "auc_roc")] == [10, 1]
