"""Two models on the same leads: what is paired, counted and listed, and what the gate takes from one plan."""

import math
from dataclasses import replace

import pytest
from pyspark.sql import functions as F

from evaluation.comparison import Seen, compare_scores, scored_pair
from evaluation.comparison_page import comparison_document
from evaluation.gate_measures import CANDIDATE, NEWEST, PRODUCTION
from evaluation.gate_scoring import count_scores, largest_difference, scored_by, scores_of, scoring_cost
from features.contract import Contract
from features.contract_file import parse_yaml
from features.splits import with_group
from features.stages import ForestParams, pipeline
from tests.leads import SMALL, small_leads

CONTRACT = parse_yaml(SMALL + "slice_by: [City, Visits]\n", Contract, "small.yaml")


@pytest.fixture(scope="module")
def leads(spark):
    held = with_group(small_leads(spark, 400), CONTRACT).coalesce(1).cache()
    yield held
    held.unpersist()


@pytest.fixture(scope="module")
def models(leads):
    """Two forests of different fields, without grades."""
    fields = CONTRACT.feature_set("available")
    params = ForestParams(trees=3, depth=3)
    return pipeline(fields, params, "Bought").fit(leads), pipeline(fields[:1], params, "Bought").fit(leads)


@pytest.fixture(scope="module")
def pair(leads, models):
    """Scores of both, with grades by the score."""

    def grade(column):
        return F.when(F.col(column) >= 0.5, "A").otherwise("D")

    scored = scored_pair(*models, leads, CONTRACT)
    held = scored.withColumns({"first_grade": grade("first"), "second_grade": grade("second")}).cache()
    yield held
    held.unpersist()


def test_both_models_score_every_lead_once(pair):
    assert pair.select("LeadId").distinct().count() == pair.count() == 400


def test_the_matrix_of_grades_counts_every_lead(pair):
    found = compare_scores(pair, CONTRACT, top=5)
    assert sum(found.moves.values()) == 400
    assert found.crossed == pair.where("first_grade != second_grade").count() > 0


def test_leads_that_cross_a_grade_are_listed_first_and_the_largest_change_leads(pair):
    changed = compare_scores(pair, CONTRACT, top=10).changed
    crossing = [c.first_grade != c.second_grade for c in changed]
    sizes = [abs(c.change) for c, crosses in zip(changed, crossing, strict=True) if crosses]
    assert crossing == sorted(crossing, reverse=True)
    assert sizes == sorted(sizes, reverse=True)


def test_a_model_against_itself_differs_in_nothing(leads, models):
    found = compare_scores(scored_pair(models[0], models[0], leads, CONTRACT), CONTRACT)
    assert {(i.value, i.low, i.high) for i in found.differences.metrics.values()} == {(0.0, 0.0, 0.0)}
    assert found.changed == ()


def test_models_without_grades_cross_none_and_the_page_says_so(leads, models):
    found = compare_scores(scored_pair(*models, leads, CONTRACT), CONTRACT)
    page = comparison_document(found, ("version 1", "version 2"), {}).as_html()
    assert found.crossed is None
    assert "no lead crosses one" in page


def page_of(found):
    return comparison_document(found, ("version 1", "version 2"), {}).as_markdown()


@pytest.fixture(scope="module")
def one_lead(pair):
    """A comparison that lists the lead that changes most."""
    return compare_scores(pair, CONTRACT, top=1)


def reasons_for(found, text):
    return {found.changed[0].lead: [{"field": "Visits", "value": "3", "points": 4.0, "text": text}]}


def test_reasons_of_both_models_stand_beside_a_changed_lead(one_lead):
    told = one_lead.explained(
        reasons_for(one_lead, "City Pune: -9 points"), reasons_for(one_lead, "Visits 3: +4 points")
    )
    assert "| City Pune: -9 points | Visits 3: +4 points |" in page_of(told)


def test_reasons_are_in_the_comparison_s_data(one_lead):
    told = one_lead.explained(reasons_for(one_lead, "Visits 3: +4 points"), None).as_dict()["changed_leads"][0]
    assert told["first_reasons"][0]["text"] == "Visits 3: +4 points"
    assert told["second_reasons"] is None


def test_the_model_that_tells_no_reasons_is_named(one_lead):
    page = page_of(one_lead.explained(reasons_for(one_lead, "Visits 3: +4 points"), None))
    assert "The second model has no compiled scorer" in page
    assert "reasons of the first |" in page
    assert "reasons of the second" not in page


def test_neither_model_is_said_to_tell_reasons_only_where_both_tell_none(one_lead):
    said = [("Neither model" in page_of(found)) for found in (one_lead, one_lead.explained(None, {}))]
    assert said == [True, False]


def test_a_model_that_may_know_the_test_leads_is_warned_of_with_their_number(one_lead):
    page = page_of(replace(one_lead, seen=(Seen("version 1", 250, 250),)))
    assert "version 1 was trained on other leads" in page
    assert "up to 250 of the 400 test leads may be among those that it learned from" in page
    assert "measures of such a model are too good" in page


def test_without_such_a_model_there_is_no_warning(one_lead):
    assert "Warning" not in page_of(one_lead)


def test_the_newest_leads_are_those_with_the_highest_order(leads, models):
    scored = scored_by({CANDIDATE: models[0]}, leads, CONTRACT, 0.25)
    joined = leads.count(), scored.where(NEWEST).count()
    assert joined == (400, 100)
    assert scored_by({CANDIDATE: models[0]}, leads, CONTRACT, 1.0).where(NEWEST).count() == 400


def test_slices_are_words_and_buckets_and_what_was_not_answered(leads, models):
    scored = scored_by({CANDIDATE: models[0], PRODUCTION: models[1]}, leads, CONTRACT, 0.5)
    assert {r.City for r in scored.select("City").distinct().collect()} == {"Mumbai", "Pune", "(not answered)"}
    assert {r.Visits for r in scored.select("Visits").distinct().collect()} == {"from 0", "from 2", "from 5"}


def test_scores_that_are_not_finite_or_no_share_are_counted(spark):
    frame = spark.createDataFrame([(0.5,), (math.nan,), (None,), (math.inf,), (1.5,)], "p double")
    found = count_scores(frame, "p", 5)
    assert (found.returned, found.finite, found.in_range) == (5, 2, 1)


@pytest.mark.parametrize(
    ("other", "largest"),
    [
        ({"a": 0.5, "b": 0.25}, 0.0),
        ({"a": 0.5, "b": 0.5}, 0.25),
        ({"a": 0.5}, math.inf),
        ({"a": 0.5, "b": None}, math.inf),
        ({"a": 0.5, "b": math.nan}, math.inf),
    ],
)
def test_a_lead_that_one_way_of_serving_lacks_is_infinitely_far(other, largest):
    assert largest_difference({"a": 0.5, "b": 0.25}, other) == (2, largest)


def test_no_lead_at_all_is_no_agreement():
    assert largest_difference({}, {}) == (0, math.inf)


def test_the_scores_of_leads_come_by_their_keys(spark):
    frame = spark.createDataFrame([("a", 0.5), ("b", None)], "id string, p double")
    assert scores_of(frame, "id", "p") == {"a": 0.5, "b": None}


def test_the_cost_of_both_models_is_measured(leads, models):
    found = scoring_cost({CANDIDATE: models[0], PRODUCTION: models[1]}, leads, rounds=1)
    assert found.candidate > 0
    assert found.production > 0
