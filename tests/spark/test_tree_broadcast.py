"""Trees that tasks take from a broadcast: the scores stay, and tasks carry no forest."""

import pytest
from pyspark.ml import PipelineModel

from features.stages import ForestParams, pipeline
from serving.lean_forest import share_parts
from serving.tree_broadcast import SOURCE, broadcast_trees
from tests.leads import small_contract, small_leads
from tests.loaded_forests import in_a_task, predictions


@pytest.fixture(scope="module")
def leads(spark):
    return small_leads(spark, 600).repartition(3).cache()


@pytest.fixture(scope="module")
def saved(spark, leads, tmp_path_factory):
    """Where fitted pipelines of 20 trees and of 40 lie: each test loads its own."""
    folder, fields = tmp_path_factory.mktemp("trees"), small_contract().feature_set("available")
    for trees in (20, 40):
        pipeline(fields, ForestParams(trees=trees, depth=6), "Bought").fit(leads).save(str(folder / str(trees)))
    return lambda trees=20: PipelineModel.load(str(folder / str(trees)))


def jars(spark):
    listed = spark.sparkContext._jsc.sc().listJars()
    return [listed.apply(i) for i in range(listed.size())]


def test_every_score_stays_the_same_bit_by_bit(spark, leads, saved):
    model = saved()
    before = predictions(model, leads)
    broadcast_trees(spark, model)
    assert predictions(model, leads) == before


def test_scores_stay_where_the_parts_of_the_forest_are_shared_before(spark, leads, saved):
    model = saved()
    before = predictions(model, leads)
    share_parts(spark, model)
    broadcast_trees(spark, model)
    assert predictions(model, leads) == before


def test_a_task_carries_places_and_no_trees(spark, saved):
    small, large = saved(20), saved(40)
    whole = in_a_task(spark, large) - in_a_task(spark, small)
    for model in (small, large):
        broadcast_trees(spark, model)
    assert 0 < in_a_task(spark, large) - in_a_task(spark, small) < whole / 20


def test_a_tree_is_broadcast_once(spark, leads, saved):
    model = saved()
    broadcast_trees(spark, model)
    once, before = in_a_task(spark, model), predictions(model, leads)
    broadcast_trees(spark, model)
    assert (in_a_task(spark, model), predictions(model, leads)) == (once, before)


def test_tasks_are_sent_the_classes_once_for_all_models(spark, saved):
    for _ in range(2):
        broadcast_trees(spark, saved())
    assert len(jars(spark)) == len(set(jars(spark)))
    assert sum("/classes-" in jar for jar in jars(spark)) == 1


def test_a_forest_that_this_spark_keeps_otherwise_goes_with_every_task(spark, leads, saved, monkeypatch):
    monkeypatch.setattr("serving.tree_broadcast.SOURCE", SOURCE.replace("model.trees()", "model.groves()"))
    model = saved()
    before, whole = predictions(model, leads), in_a_task(spark, model)
    broadcast_trees(spark, model)
    assert (predictions(model, leads), in_a_task(spark, model)) == (before, whole)
