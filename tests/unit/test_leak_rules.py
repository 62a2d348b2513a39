"""The probe's rules, held against measurements of one field."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evaluation.field_alone import FOLD, FieldAlone, auc_error, fields_alone
from evaluation.forest_without import ForestsWithout
from evaluation.leakage import LeakFound, LeakReport, Repeats, judge_fields, refuse_leaks
from tests.leads import small_contract

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
    auc_leads=5000,
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


@pytest.mark.parametrize(("leads", "found"), [(49, []), (50, ["knows the outcome alone"])])
def test_an_area_of_fewer_than_fifty_leads_is_no_accusation(leads, found):
    assert rules(replace(HONEST, kind="numeric", auc=0.99, auc_leads=leads)) == found


def test_the_area_of_few_leads_does_not_beat_the_forest_of_all_others():
    assert rules(replace(HONEST, auc=0.83, auc_leads=49), ForestsWithout(0.85, {"City": 0.79}, 20, 6, 10)) == []


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


def report(late, **changes):
    found = judge_fields([replace(HONEST, **({"auc": 0.95} | changes))], NO_FORESTS, late)
    return LeakReport(5000, 5000, (HONEST,), NO_FORESTS, Repeats(10, 0, 0), tuple(late), tuple(found))


def agrees(late, **changes):
    return report(late, **changes).as_dict()["fields"][0]["agrees_with_known_at"]


def test_a_suspect_is_refused_with_a_remedy():
    with pytest.raises(LeakFound, match=r"City alone has an AUC of 0\.950.*known_at.*on_leak=warn"):
        refuse_leaks(report([]), "available")


def test_a_suspect_that_the_contract_declares_late_is_on_the_record_and_stops_nothing():
    refuse_leaks(report(["City"]), "documented")
    assert report(["City"]).as_dict()["suspects"][0]["declared_late"]


def test_the_error_of_an_area_shrinks_with_the_root_of_the_leads():
    assert auc_error(0.8, 400, 400) == pytest.approx(auc_error(0.8, 100, 100) / 2, rel=0.02)


def test_a_suspect_does_not_agree_with_a_declaration_in_time_and_another_field_does():
    assert (agrees([], auc=0.95), agrees([], auc=0.7)) == (False, True)


def test_a_field_declared_late_agrees_where_the_data_show_it_and_is_not_judged_where_they_do_not():
    assert (agrees(["City"], auc=0.95), agrees(["City"], auc=0.7)) == (True, None)


def test_a_field_declared_late_that_names_leads_is_not_shown_to_be_late():
    assert agrees(["City"], auc=0.7, distinct=3900) is None


def test_an_area_of_one_is_never_sure():
    assert auc_error(1.0, 1, 1) == 0.5
    assert 0.03 < auc_error(1.0, 25, 25) < 0.05


def test_the_error_of_an_ordinary_area_is_the_formula_s():
    # Worked out from the paper: A = 0.8, 30 and 20 leads; Q1 = 2 / 3, Q2 = 0.7111.
    assert auc_error(0.8, 30, 20) == pytest.approx(0.0617, abs=1e-4)


def measured(seconds, won):
    """A numeric field alone; each lead has an id and a fold of its own."""
    n = len(won)
    rows = {"LeadId": [f"l{i}" for i in range(n)], "Number": np.arange(n, dtype=float), FOLD: np.arange(n) % 5}
    fields = [f for f in small_contract().features if f.name == "Seconds"]
    return fields_alone(pd.DataFrame({**rows, "Seconds": seconds, "Bought": won}), small_contract(), fields)[0]


def test_a_number_filled_in_for_two_leads_knows_nothing():
    found = measured([1.0, 2.0] + [np.nan] * 998, [0, 1] * 500)
    assert (found.filled, found.auc, judge_fields([found], NO_FORESTS, ())) == (2, 0.5, [])


def test_the_error_of_a_number_is_that_of_the_leads_in_which_it_is_filled_in():
    rng, won = np.random.default_rng(1), np.tile([0, 1], 500)
    seconds = np.where(np.arange(1000) < 200, won + rng.normal(size=1000), np.nan)
    found = measured(seconds, won)
    assert (found.auc_leads, found.auc_error) == (200, auc_error(found.auc, 100, 100))
