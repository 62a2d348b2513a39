"""Global importance, partial dependence and interactions, on leads whose rule is known."""

import random

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from evaluation.dependence import dependence_report
from evaluation.permutation import permutation_importance
from evaluation.scorers import field_columns, spark_scorer
from features.contract import Contract
from features.contract_file import parse_yaml
from features.splits import with_group
from features.stages import ForestParams, pipeline, positive_probability

RULED = """
name: ruled
score_at: browsing
fields:
  - {name: LeadId, source: Id, kind: id, known_at: capture}
  - {name: Number, source: Number, kind: order, known_at: capture}
  - {name: Bought, source: Bought, kind: label, known_at: outcome}
  - {name: Seconds, source: Seconds, kind: numeric, known_at: browsing, unit: s}
  - {name: Idle, source: Idle, kind: numeric, known_at: browsing}
  - {name: City, source: City, kind: category, known_at: capture}
"""
CONTRACT = parse_yaml(RULED, Contract, "ruled.yaml")
FIELDS = CONTRACT.feature_set("available")


def made(spark, seed, n=600):
    """Long visits convert in Mumbai, short ones in Pune: the two act together; Idle does nothing."""
    rng, rows = random.Random(seed), []
    for i in range(n):
        seconds, city = rng.uniform(0, 100), rng.choice(["Mumbai", "Pune"])
        likely = (seconds > 50) == (city == "Mumbai")
        rows.append((f"l{i}", float(i), int(rng.random() < (0.9 if likely else 0.2)), seconds, rng.random(), city))
    columns = "LeadId string, Number double, Bought int, Seconds double, Idle double, City string"
    return with_group(spark.createDataFrame(rows, columns), CONTRACT).coalesce(2).cache()


@pytest.fixture(scope="module")
def leads(spark):
    return made(spark, seed=1)


@pytest.fixture(scope="module")
def model(spark):
    return pipeline(FIELDS, ForestParams(trees=20, depth=5, feature_subset="all"), "Bought").fit(made(spark, seed=2))


@pytest.fixture(scope="module")
def score(model, spark):
    return spark_scorer(model, spark)


@pytest.fixture(scope="module")
def importance(score, leads):
    return permutation_importance(score, leads, FIELDS, "Bought", {"Seconds": 0.6, "City": 0.4})


@pytest.fixture(scope="module")
def dependence(score, leads):
    return dependence_report(score, leads, FIELDS, ["Seconds", "City", "Idle"])


def test_spark_scores_a_table_in_its_order(score, model, leads):
    table = leads.select(*field_columns(FIELDS)).toArrow().slice(0, 50)
    backwards = table.take(pa.array(range(table.num_rows - 1, -1, -1)))
    assert list(score(backwards)) == list(score(table))[::-1]
    own = model.transform(leads).select(positive_probability().alias("p")).toPandas()["p"]
    assert sorted(score(table)) == pytest.approx(sorted(own[:50]))


def test_shuffling_a_field_that_matters_costs_area(importance):
    assert {f.field for f in importance.fields if f.auc_loss.low > 0.1} == {"Seconds", "City"}


def test_a_field_that_does_nothing_is_last_and_costs_next_to_nothing(importance):
    assert importance.fields[-1].field == "Idle"
    assert importance.fields[-1].auc_loss.value < 0.05


def test_importance_stands_beside_the_share_of_impurity(importance):
    assert {f.field: f.impurity_share for f in importance.fields} == {"Seconds": 0.6, "City": 0.4, "Idle": 0.0}


def test_equal_seeds_shuffle_alike(importance, score, leads):
    again = permutation_importance(score, leads.repartition(3), FIELDS, "Bought", {"Seconds": 0.6, "City": 0.4})
    assert again == importance


def test_a_curve_has_the_fields_unit_and_rising_values(dependence):
    seconds = dependence.curves[0]
    values = [p.value for p in seconds.points]
    assert (seconds.unit, values) == ("s", sorted(values))


def test_words_come_from_the_highest_mean_down_with_their_shares(dependence):
    city = dependence.curves[1]
    assert [p.mean for p in city.points] == sorted((p.mean for p in city.points), reverse=True)
    assert sum(p.share for p in city.points) == pytest.approx(1)


def test_a_curve_is_the_mean_score_with_the_value_set_for_every_lead(dependence, model, leads):
    point = dependence.curves[2].points[0]
    sampled = (
        model.transform(leads.withColumn("Idle", F.lit(point.value))).agg(F.avg(positive_probability())).first()[0]
    )
    assert point.mean == pytest.approx(sampled, abs=0.05)


def test_two_fields_that_act_together_have_a_large_h(dependence):
    strongest = dependence.interactions[0]
    assert {strongest.first, strongest.second} == {"Seconds", "City"}
    assert strongest.h > 0.7


def test_a_field_that_does_nothing_hardly_acts_with_another(dependence):
    assert all(i.strength < 0.05 for i in dependence.interactions if "Idle" in (i.first, i.second))
