"""Splits: what separates train from test."""

import pytest
from pyspark.sql import functions as F

from features.splits import AGE, GROUP, Split, age_of, content_hash, fold_of, split_leads, with_group
from tests.leads import small_contract, small_leads


@pytest.fixture(scope="module")
def leads(spark):
    return small_leads(spark, 1000).cache()


def repeated(leads):
    """The same leads twice, under new ids, the second time with the other label."""
    again = leads.withColumn("LeadId", F.concat(F.lit("again-"), "LeadId")).withColumn("Bought", 1 - F.col("Bought"))
    return leads.unionByName(again)


def test_no_repeated_lead_lies_on_both_sides_of_a_grouped_split(leads):
    sides = split_leads(repeated(leads), small_contract(), Split.GROUPED, 0.3, 7)
    assert sides.train.join(sides.test, GROUP, "semi").count() == 0


def test_a_random_split_puts_repeats_on_both_sides(leads):
    sides = split_leads(repeated(leads), small_contract(), Split.RANDOM, 0.3, 7)
    assert sides.train.join(sides.test, GROUP, "semi").count() > 0


def test_a_random_split_of_1000_leads_tests_on_300(leads):
    assert split_leads(leads, small_contract(), Split.RANDOM, 0.3, 7).test.count() == 300


def test_newest_tests_on_the_leads_with_the_highest_order(leads):
    sides = split_leads(leads, small_contract(), Split.NEWEST, 0.3, 7)
    assert sides.train.agg(F.max("Number")).first()[0] < sides.test.agg(F.min("Number")).first()[0]


@pytest.mark.parametrize("how", list(Split))
def test_both_sides_together_hold_every_lead_once(leads, how):
    sides = split_leads(leads, small_contract(), how, 0.3, 7)
    ids = [r.LeadId for side in (sides.train, sides.test) for r in side.select("LeadId").collect()]
    assert sorted(ids) == sorted(r.LeadId for r in leads.select("LeadId").collect())


def test_a_split_does_not_depend_on_partitions_or_order(leads):
    def tested(frame):
        return {r.LeadId for r in split_leads(frame, small_contract(), Split.GROUPED, 0.3, 7).test.collect()}

    assert tested(leads.orderBy(F.desc("LeadId")).repartition(5)) == tested(leads)


def test_another_seed_gives_another_split(leads):
    one, two = (split_leads(leads, small_contract(), Split.RANDOM, 0.3, s).test for s in (1, 2))
    assert {r.LeadId for r in one.collect()} != {r.LeadId for r in two.collect()}


def test_repeats_share_a_fold(leads):
    folds = with_group(repeated(leads), small_contract()).groupBy(GROUP).agg(F.count_distinct(fold_of(3, 1)).alias("n"))
    assert folds.agg(F.max("n")).first()[0] == 1


def test_the_content_hash_ignores_order_but_sees_a_changed_value(leads):
    def hashed(frame):
        return frame.agg(content_hash(frame)).first()[0]

    changed = leads.withColumn("Visits", F.when(F.col("LeadId") == "lead-00003", 99.0).otherwise(F.col("Visits")))
    assert hashed(leads) == hashed(leads.repartition(7)) != hashed(changed)


def test_the_content_hash_sees_a_repeated_row(leads):
    twice = leads.unionByName(leads)
    assert twice.agg(content_hash(twice)).first()[0] != leads.agg(content_hash(leads)).first()[0]


def ages(leads, order="Number"):
    return [row[AGE] for row in leads.select("Number", age_of(leads, order).alias(AGE)).orderBy("Number").collect()]


def test_the_age_of_a_lead_is_the_share_of_leads_that_came_later(leads):
    found = ages(leads)
    assert found == pytest.approx([1 - (place + 1) / 1000 for place in range(1000)], abs=0.015)
    assert (found[-1], found == sorted(found, reverse=True)) == (0, True)


def test_without_an_order_field_all_leads_are_the_newest(leads):
    assert set(ages(leads, None)) == {0}


def test_a_lead_without_an_order_is_as_old_as_can_be(leads):
    unordered = leads.withColumn("Number", F.when(F.col("LeadId") != leads.first().LeadId, F.col("Number")))
    assert ages(unordered)[0] == 1
