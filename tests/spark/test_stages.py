"""The Spark ML stages: what enters the forest, and what an odd lead does to it."""

import math

import pytest
from pyspark.ml import PipelineModel

from evaluation.importance import importance_by_field, slot_names
from features.stages import ForestParams, pipeline, positive_probability, source_field
from tests.leads import small_contract, small_leads

FOREST = ForestParams(trees=5, depth=3)


@pytest.fixture(scope="module")
def fitted(spark):
    contract = small_contract()
    return pipeline(contract.feature_set("leaky"), FOREST, contract.label.name).fit(small_leads(spark))


def probability(spark, model, *rows):
    leads = spark.createDataFrame(list(rows), "Visits double, City string, Tag string")
    return [r.p for r in model.transform(leads).select(positive_probability().alias("p")).collect()]


def test_every_field_of_the_feature_set_enters_the_vector(spark, fitted):
    encoded = PipelineModel(fitted.stages[:-1]).transform(small_leads(spark))
    assert {source_field(name) for name in slot_names(encoded)} == {"Visits", "City", "Tag"}


def test_there_is_one_stage_of_each_kind(fitted):
    kinds = [type(stage).__name__ for stage in fitted.stages]
    assert len(kinds) == len(set(kinds))


def test_an_empty_lead_gets_a_finite_probability(spark, fitted):
    (p,) = probability(spark, fitted, (None, None, None))
    assert 0 <= p <= 1


@pytest.mark.parametrize("visits", [-5.0, 1e308, math.inf, -math.inf, math.nan])
def test_no_number_ends_the_scoring(spark, fitted, visits):
    (p,) = probability(spark, fitted, (visits, "Pune", "open"))
    assert 0 <= p <= 1


def test_an_unseen_category_scores_like_a_missing_one(spark, fitted):
    unseen, missing = probability(spark, fitted, (3.0, "Atlantis", "open"), (3.0, None, "open"))
    assert unseen == missing


def test_a_missing_number_scores_like_the_mean_of_training(spark, fitted):
    mean = fitted.stages[0].surrogateDF.first()["Visits"]
    missing, at_mean = probability(spark, fitted, (None, "Pune", "open"), (mean, "Pune", "open"))
    assert missing == at_mean


def test_importance_is_summed_to_source_fields_and_totals_one(spark, fitted):
    shares = importance_by_field(fitted, PipelineModel(fitted.stages[:-1]).transform(small_leads(spark)))
    assert set(shares) == {"Visits", "City", "Tag"}
    assert sum(shares.values()) == pytest.approx(1)


def test_the_field_that_gives_the_label_away_is_the_most_important(spark, fitted):
    shares = importance_by_field(fitted, PipelineModel(fitted.stages[:-1]).transform(small_leads(spark)))
    assert next(iter(shares)) == "Tag"
