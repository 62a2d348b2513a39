"""A look at leads in Spark, against numbers counted by hand."""

import pytest

from evaluation.exploration import NothingToExplore, Rate
from evaluation.explore import categories, explore, round_edges
from evaluation.explore_written import survey
from tests.leads import small_contract, small_leads

ROWS = [  # id, number, label, visits, seconds, city, tag
    ("a", 1.0, 1, 1.0, 10.0, "Pune", "won"),
    ("b", 2.0, 0, 1.0, 10.0, "Pune", "won"),
    ("c", 3.0, 1, 4.0, 90.0, "Pune", None),
    ("d", 4.0, 0, None, 20.0, "Delhi", None),
    ("e", 5.0, 0, 2.0, 30.0, None, None),
]


@pytest.fixture(scope="module")
def leads(spark):
    return spark.createDataFrame(ROWS, small_leads(spark, 1).schema).cache()


@pytest.fixture(scope="module")
def found(leads):
    return explore(leads, small_contract())


def by_name(parts, name):
    return next(part for part in parts if part.name == name)


def test_all_leads_and_the_converted_ones_are_counted(found):
    assert found.all == Rate(5, 2)


def test_missing_and_answered_leads_are_told_apart_with_their_label(found):
    assert (by_name(found.profiles, "Tag").missing, by_name(found.profiles, "Tag").answered) == (Rate(3, 1), Rate(2, 1))


def test_a_field_known_after_scoring_is_marked(found):
    assert [p.name for p in found.profiles if p.late] == ["Tag"]


def test_words_come_with_their_leads_the_most_frequent_first(found):
    assert by_name(found.categories, "City").words == (("Pune", Rate(3, 2)), ("Delhi", Rate(1, 0)))


def test_words_beyond_the_top_are_taken_together(leads):
    (city,) = categories(leads, [f for f in small_contract().fields if f.name == "City"], "Bought", top=1)
    assert (city.words, city.other, city.missing) == ((("Pune", Rate(3, 2)),), Rate(1, 0), Rate(1, 0))


def test_every_lead_falls_into_one_bin_or_is_missing(found):
    visits = by_name(found.numbers, "Visits")
    assert sum(b.leads for b in visits.bins) == 4
    assert visits.missing == Rate(1, 0)


def test_periods_run_from_the_oldest_to_the_newest(found):
    assert [p.first for p in found.periods] == sorted(p.first for p in found.periods)
    assert sum(p.rate.leads for p in found.periods) == 5


def test_repeats_are_counted_beyond_the_first_and_mixed_labels_told(found):
    assert (found.repeats.rows, found.repeats.groups, found.repeats.mixed, found.repeats.largest) == (1, 1, 1, 2)


def test_no_leads_are_refused_by_name(leads):
    with pytest.raises(NothingToExplore, match="there are no leads"):
        explore(leads.where("false"), small_contract())


def test_null_words_are_counted_apart_from_empty_cells_and_constants_are_found(spark):
    rows = spark.createDataFrame([("Select", "x"), (None, "x"), ("Pune", "x")], "City string, Tag string")
    city, tag = survey(rows, small_contract())
    assert (city.empty, city.null_words, city.constant) == (1, 1, None)
    assert tag.constant == "x"


def test_edges_are_round_and_cover_the_range():
    assert round_edges(0, 2253)[:3] == (0, 200, 400)
    assert round_edges(3, 3) == (3,)
