"""Sharing the equal parts of a loaded forest changes what it weighs, and no score."""

import pytest
from pyspark.ml import PipelineModel

from features.stages import ForestParams, forest_of, pipeline
from serving.lean_forest import share_parts
from tests.leads import small_contract, small_leads
from tests.loaded_forests import in_a_task, predictions


@pytest.fixture(scope="module")
def leads(spark):
    return small_leads(spark, 600).coalesce(1).cache()


@pytest.fixture(scope="module")
def saved(spark, leads, tmp_path_factory):
    """Where a fitted pipeline lies: each test loads its own."""
    where = str(tmp_path_factory.mktemp("lean") / "model")
    fields = small_contract().feature_set("available")
    pipeline(fields, ForestParams(trees=20, depth=6), "Bought").fit(leads).save(where)
    return where


def test_every_score_stays_the_same_bit_by_bit(spark, leads, saved):
    model = PipelineModel.load(saved)
    before = predictions(model, leads)
    share_parts(spark, model)
    assert predictions(model, leads) == before


def test_less_goes_to_every_task(spark, saved):
    model = PipelineModel.load(saved)
    before = in_a_task(spark, model)
    share_parts(spark, model)
    assert in_a_task(spark, model) < 0.9 * before


def test_sharing_twice_changes_nothing_more(spark, leads, saved):
    model = PipelineModel.load(saved)
    share_parts(spark, model)
    once, before = in_a_task(spark, model), predictions(model, leads)
    share_parts(spark, model)
    assert (in_a_task(spark, model), predictions(model, leads)) == (once, before)


def test_a_forest_that_numbers_its_leaves_is_left_as_it_is(spark, saved):
    model = PipelineModel.load(saved)
    forest_of(model).setLeafCol("leaf")
    before = in_a_task(spark, model)
    share_parts(spark, model)
    assert in_a_task(spark, model) == before


def test_a_tree_that_is_one_leaf_is_no_fault(spark, leads):
    fields = small_contract().feature_set("available")
    model = pipeline(fields, ForestParams(trees=2, depth=1, min_instances=600), "Bought").fit(leads)
    before = predictions(model, leads)
    share_parts(spark, model)
    assert predictions(model, leads) == before
