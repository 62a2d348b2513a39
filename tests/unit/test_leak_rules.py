"""The probe's rules, held against measurements of one field."""

from dataclasses import replace

import pytest

from evaluation.field_alone import FieldAlone, auc_error
from evaluation.forest_without import ForestsWithout
from evaluation.leakage import LeakFound, LeakReport, Repeats, judge_fields, refuse_leaks

NO_FORESTS = ForestsWithout(0.5, {})
HONEST = FieldAlone(
    name="City",
    kind="category",
    known_at="capture",
    leads=5000,
    won=1900,
    filled=4000,
    won_filled=1600,
    auc=0.7,
    auc_error=0.007,
    auc_missing=0.55,
    distinct=40,
    copies_id=0.0,
    copies_order=0.0,
    follows_order=0.0,
)


def rules(field, forests=NO_FORESTS, late=()):
    return [s.rule for s in judge_fields([field], forests, late)]


def test_an_honest_field_is_not_accused():
    assert rules(HONEST) == []


def test_a_field_that_knows_as_much_as_a_model_is_accused():
    assert rules(replace(HONEST, auc=0.88)) == ["knows the outcome alone"]


def test_a_large_area_of_few_leads_is_no_accusation():
    assert rules(replace(HONEST, auc=0.88, auc_error=0.03)) == []


def test_a_field_that_beats_the_forest_of_all_others_is_accused():
    forests = ForestsWithout(0.85, {"City": 0.79}, 20, 6, 10)
    assert rules(replace(HONEST, auc=0.83), forests) == ["knows more than all other fields"]


def test_a_strong_field_among_three_is_not_held_against_the_two_others():
    forests = ForestsWithout(0.85, {"City": 0.6}, 20, 6, 3)
    assert rules(replace(HONEST, auc=0.83), forests) == []


def test_a_good_field_among_good_fields_is_not_accused():
    assert rules(replace(HONEST, auc=0.83), ForestsWithout(0.9, {"City": 0.88}, 20, 6, 10)) == []


def test_a_field_filled_in_for_converted_leads_alone_is_accused():
    assert rules(replace(HONEST, filled=900, won_filled=900)) == ["filled in by outcome"]


def test_a_field_filled_in_for_lost_leads_alone_is_accused():
    assert rules(replace(HONEST, filled=1500, won_filled=2)) == ["filled in by outcome"]


def test_a_field_that_few_leads_have_filled_in_is_not_accused_of_it():
    assert rules(replace(HONEST, filled=30, won_filled=30)) == []


def test_a_category_with_a_word_per_lead_names_leads():
    assert rules(replace(HONEST, distinct=3900)) == ["names leads"]


def test_a_number_with_a_value_per_lead_is_an_ordinary_number():
    assert rules(replace(HONEST, kind="numeric", distinct=3900)) == []


def test_a_number_that_says_what_the_order_field_says_copies_it():
    assert rules(replace(HONEST, kind="numeric", copies_order=1.0, follows_order=1.0)) == ["copies an id"]


def test_a_number_that_rises_with_the_order_field_numbers_the_leads():
    assert rules(replace(HONEST, kind="numeric", follows_order=0.9999)) == ["copies an id"]


def test_an_id_that_predicts_is_accused():
    assert rules(replace(HONEST, kind="order", auc=0.8)) == ["ids predict"]


def test_an_accusation_carries_its_numbers():
    assert "0.880 ± 0.014" in judge_fields([replace(HONEST, auc=0.88)], NO_FORESTS, ())[0].sentence


def report(late):
    found = judge_fields([replace(HONEST, auc=0.95)], NO_FORESTS, late)
    return LeakReport(5000, 5000, (HONEST,), NO_FORESTS, Repeats(10, 0, 0), tuple(late), tuple(found))


def test_a_suspect_is_refused_with_a_remedy():
    with pytest.raises(LeakFound, match=r"City alone has an AUC of 0\.950.*known_at.*on_leak=warn"):
        refuse_leaks(report([]), "available")


def test_a_suspect_that_the_contract_declares_late_is_on_the_record_and_stops_nothing():
    refuse_leaks(report(["City"]), "documented")
    assert report(["City"]).as_dict()["suspects"][0]["declared_late"]


def test_the_error_of_an_area_shrinks_with_the_root_of_the_leads():
    assert auc_error(0.8, 400, 400) == pytest.approx(auc_error(0.8, 100, 100) / 2, rel=0.02)
