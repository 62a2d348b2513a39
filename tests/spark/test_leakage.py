"""The leakage probe on leads: what it must catch, and whom it must leave alone."""

import csv

import pytest
from pyspark.sql import functions as F

from evaluation.field_alone import columns_alone, fields_alone
from evaluation.leakage import count_repeats, probe_leaks
from features.contract import Contract, KnownAt
from features.ingest import read_leads
from features.sample import HEADER, load_profile, sample_rows
from features.splits import Split, split_leads, with_group
from pipelines.settings import ROOT
from tests.leads import small_contract, small_leads

LEADS, SEEDS = 1000, 20
STEP = 10_000_000


def drawn(spark, contract, path, seeds):
    """Sample leads of several seeds, read at once; the seed is LeadNumber // STEP."""
    profile, number = load_profile(ROOT / "conf" / "sample_profile.json"), HEADER.index("Lead Number")
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for seed in seeds:
            for row in sample_rows(profile, LEADS, seed):
                row[number] = str(int(row[number]) + seed * STEP)
                out.writerow(row)
    return with_group(read_leads(spark, str(path), contract).good, contract).coalesce(2).cache()


@pytest.fixture(scope="module")
def one(spark, contract, tmp_path_factory):
    """Two thousand honest leads, to be spoilt."""
    return drawn(spark, contract, tmp_path_factory.mktemp("one") / "leads.csv", range(2))


def accused(leads, contract, fields=None):
    """Names and rules of the suspects; a quarter of the groups are the test side."""
    fields = contract.feature_set("available") if fields is None else fields
    held = F.pmod(F.col("lead_group"), F.lit(4)) == 0
    report = probe_leaks(leads.where(~held), leads.where(held), contract, fields)
    return {(s.field, s.rule) for s in report.suspects}


def declared(contract, name, **changes):
    """The contract with one field declared otherwise."""
    data = contract.model_dump()
    data["fields"] = [f.model_dump() | (changes if f.name == name else {}) for f in contract.fields]
    return Contract.model_validate(data)


def test_honest_fields_of_twenty_datasets_are_accused_at_most_once(spark, contract, tmp_path):
    found, datasets = [], drawn(spark, contract, tmp_path / "leads.csv", range(SEEDS))
    # Three leads or so of every dataset answer this one: chance alone puts them into the order of their outcomes.
    answered = F.when(F.pmod(F.xxhash64("LeadNumber"), F.lit(LEADS)) < 3, F.xxhash64("LeadNumber") / 1e12)
    datasets = datasets.withColumn("TotalVisits", answered).cache()
    for seed in range(SEEDS):
        found += accused(datasets.where(F.floor(F.col("LeadNumber") / STEP) == seed).coalesce(1), contract)
    assert len(found) <= 1


def test_a_status_tag_that_is_not_declared_late_is_caught(one, contract):
    known_early = declared(contract, "LeadStatusTag", known_at=KnownAt.CAPTURE)
    assert ("LeadStatusTag", "knows the outcome alone") in accused(one, known_early)


def test_the_real_leads_status_tag_is_caught_and_nothing_else(spark, contract, leads_csv):
    known_early = declared(contract, "LeadStatusTag", known_at=KnownAt.CAPTURE)
    sides = split_leads(read_leads(spark, str(leads_csv), contract).good, contract, Split.GROUPED, 0.3, seed=42)
    report = probe_leaks(sides.train, sides.test, known_early, known_early.feature_set("available"))
    assert [(s.field, s.rule) for s in report.suspects] == [("LeadStatusTag", "knows the outcome alone")]


def test_an_id_copied_into_a_category_is_caught(one, contract):
    copied = one.withColumn("City", F.col("ProspectID"))
    assert {("City", "names leads"), ("City", "copies an id")} <= accused(copied, contract)


def test_a_scrambled_id_in_a_category_is_caught(one, contract):
    scrambled = one.withColumn("City", F.md5("ProspectID"))
    assert accused(scrambled, contract) == {("City", "names leads")}


def test_the_order_field_copied_into_a_number_is_caught(one, contract):
    copied = one.withColumn("TotalBrowsingTime", F.col("LeadNumber").cast("double"))
    assert ("TotalBrowsingTime", "copies an id") in accused(copied, contract)


def test_the_label_shifted_by_noise_is_caught(one, contract):
    noisy = one.withColumn("TotalBrowsingTime", F.col("ContactedAgent") + 0.5 * F.randn(seed=1))
    assert accused(noisy, contract) == {("TotalBrowsingTime", "knows the outcome alone")}


def test_the_label_with_one_answer_in_ten_turned_over_is_caught(one, contract):
    turned = F.when(F.rand(seed=1) < 0.1, 1 - F.col("ContactedAgent")).otherwise(F.col("ContactedAgent"))
    assert accused(one.withColumn("City", turned.cast("string")), contract) == {("City", "knows the outcome alone")}


def test_a_field_that_is_only_filled_in_for_converted_leads_is_caught(one, contract):
    won = (F.col("ContactedAgent") == 1) & (F.rand(seed=1) < 0.5)
    filled = one.withColumn("City", F.when(won, F.when(F.rand(seed=2) < 0.5, "Mumbai").otherwise("Pune")))
    assert ("City", "filled in by outcome") in accused(filled, contract)


def test_a_test_side_with_ids_of_train_leads_is_caught(spark):
    leads, contract = with_group(small_leads(spark), small_contract()), small_contract()
    report = probe_leaks(leads, leads.limit(100), contract, contract.feature_set("available"))
    assert [s.rule for s in report.suspects] == ["train leads repeated in test"]


def repeats(spark, train, test, *names):
    """What is counted of leads (id, city, tag) by the fields named."""
    frames = [spark.createDataFrame(rows, "LeadId string, City string, Tag string") for rows in (train, test)]
    return count_repeats(*frames, small_contract(), [f for f in small_contract().features if f.name in names])


def test_repeats_are_counted_by_id_and_by_features(spark):
    found = repeats(spark, [("a", "Pune", "x"), ("b", "Goa", "x")], [("a", "Pune", "x"), ("c", "Goa", "x")], "City")
    assert (found.test_leads, found.same_id, found.same_features) == (2, 1, 2)


def test_leads_that_differ_only_in_a_field_that_the_model_does_not_see_are_repeats(spark):
    assert repeats(spark, [("a", "Pune", "won")], [("b", "Pune", "open")], "City").same_features == 1


def test_leads_that_differ_in_a_field_that_the_model_sees_are_no_repeats(spark):
    assert repeats(spark, [("a", "Pune", "won")], [("b", "Pune", "open")], "City", "Tag").same_features == 0


def test_leads_with_the_same_fields_missing_are_repeats(spark):
    assert repeats(spark, [("a", None, "x")], [("b", None, "x"), ("c", "x", None)], "City", "Tag").same_features == 1


def test_a_test_lead_that_two_train_leads_repeat_counts_once(spark):
    assert repeats(spark, [("a", "Pune", "x"), ("b", "Pune", "y")], [("c", "Pune", "x")], "City").same_features == 1


def test_a_field_declared_late_is_told_apart_from_suspects(spark):
    contract = small_contract()
    leads = with_group(small_leads(spark), contract)
    report = probe_leaks(leads, leads.limit(0), contract, contract.feature_set("leaky"))
    assert report.suspects == ()
    assert [(s.field, s.declared_late) for s in report.found] == [("Tag", True)]


def test_the_forest_without_a_field_knows_less(spark):
    contract = small_contract()
    leads = with_group(small_leads(spark), contract)
    forests = probe_leaks(leads, leads.limit(0), contract, contract.feature_set("leaky")).forests
    assert forests.auc == pytest.approx(1.0, abs=0.01)
    assert forests.without["Tag"] < 0.9


def test_a_forest_is_grown_without_every_field_but_those_that_name_leads(one, contract):
    scrambled = one.withColumn("City", F.md5("ProspectID"))
    fields = contract.feature_set("available")
    forests = probe_leaks(scrambled, scrambled.limit(0), contract, fields).forests
    assert set(forests.without) == {f.name for f in fields} - {"City"}


def test_a_number_alone_has_the_area_that_its_pairs_give(spark):
    contract, rows = small_contract(), [(1, 1.0), (0, 2.0), (1, 3.0), (0, None)]
    made = [(f"l{i}", float(i), y, 1.0, s, "Pune", "open", i) for i, (y, s) in enumerate(rows)]
    columns = "LeadId string, Number double, Bought int, Visits double, Seconds double, City string, Tag string, "
    leads = spark.createDataFrame(made, columns + "lead_group long")
    rows = leads.select(*columns_alone(contract, contract.features)).toPandas()
    seconds = next(f for f in fields_alone(rows, contract, contract.features) if f.name == "Seconds")
    assert (seconds.filled, seconds.won_filled, seconds.auc) == (3, 2, pytest.approx(0.5))
