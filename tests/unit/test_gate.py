"""The promotion gate: each condition by itself, and that nothing missing ever passes."""

import json
import math
from dataclasses import replace

import pytest

from evaluation.gate import Check, Evidence, GateConditions, GateReport, Probe, attempted, checked, judge
from features.contract_file import ContractError, load_yaml, parse_yaml
from pipelines.settings import Settings

CONDITIONS = GateConditions(min_auc=0.85, max_auc_drop=0.01, min_test_leads=100)
GOOD = Evidence(
    candidate_auc=0.90,
    has_production=True,
    production_auc=0.89,
    test_leads=2000.0,
    probe=Probe(sent=52, returned=52, finite=52, in_range=52),
    features=("Visits", "City"),
    late_fields=(),
    unknown_fields=(),
    allowed_late_fields=(),
    candidate_data_hash="aaaabbbbccccdddd",
    data_hash="aaaabbbbccccdddd",
)
NAN, INF = math.nan, math.inf


def failed(**changes):
    """Names of the checks that fail when the good evidence is changed so."""
    return [c.name for c in judge(CONDITIONS, replace(GOOD, **changes)).failures()]


def test_good_evidence_passes():
    assert judge(CONDITIONS, GOOD).passed


def test_the_shipped_conditions_are_the_defaults():
    assert load_yaml(Settings().gate_file, GateConditions) == GateConditions()


def test_an_unknown_condition_is_refused_with_its_line():
    with pytest.raises(ContractError, match=r"gate\.yaml line 2: min_aucc"):
        parse_yaml("min_auc: 0.9\nmin_aucc: 0.9\n", GateConditions, "gate.yaml")


@pytest.mark.parametrize("value", [".nan", ".inf", "0.4", "yes please"])
def test_a_condition_out_of_range_is_refused(value):
    with pytest.raises(ContractError, match="min_auc"):
        parse_yaml(f"min_auc: {value}", GateConditions, "gate.yaml")


@pytest.mark.parametrize("auc", [None, NAN, INF, -INF, 0.849, 1.2, "0.9"])
def test_an_auc_that_is_missing_impossible_or_too_low_fails(auc):
    assert "AUC" in failed(candidate_auc=auc, has_production=False, production_auc=None)


def test_an_auc_at_the_limit_passes():
    assert failed(candidate_auc=0.85, production_auc=0.85) == []


def test_a_loss_at_the_limit_passes_whatever_the_rounding():
    assert 0.90 - 0.89 > 0.01
    assert failed(candidate_auc=0.89, production_auc=0.90) == []


def test_a_loss_above_the_limit_fails_with_both_numbers():
    report = judge(CONDITIONS, replace(GOOD, candidate_auc=0.88, production_auc=0.8915))
    assert [c.found for c in report.failures()] == ["0.8800 against 0.8915"]


@pytest.mark.parametrize("auc", [None, NAN, INF, -0.1, 1.1])
def test_a_production_version_without_a_possible_auc_fails(auc):
    assert failed(production_auc=auc) == ["AUC against Production"]


def test_the_first_promotion_has_nothing_to_compare_with():
    assert failed(has_production=False, production_auc=None) == []


@pytest.mark.parametrize("leads", [None, NAN, INF, 0.0, 99.0])
def test_too_few_test_leads_fail(leads):
    assert failed(test_leads=leads) == ["test leads"]


@pytest.mark.parametrize(
    "counts",
    [None, (0, 0, 0, 0), (52, 51, 51, 51), (52, 53, 53, 53), (52, 52, 51, 51), (52, 52, 52, 51)],
)
def test_a_probe_lead_lost_doubled_not_finite_or_out_of_range_fails(counts):
    assert failed(probe=Probe(*counts) if counts else None) == ["probe leads"]


def test_a_late_field_fails_by_name():
    report = judge(CONDITIONS, replace(GOOD, late_fields=("Tag",)))
    assert [c.found for c in report.failures()] == ["Tag known too late"]


def test_a_late_field_allowed_by_name_passes_and_stays_on_the_record():
    report = judge(CONDITIONS, replace(GOOD, late_fields=("Tag",), allowed_late_fields=("Tag",)))
    assert report.passed
    assert "Tag known too late, allowed by name" in report.as_table()


def test_allowing_one_late_field_does_not_allow_another():
    report = judge(CONDITIONS, replace(GOOD, late_fields=("Tag", "Quality"), allowed_late_fields=("Tag",)))
    assert report.failures()[0].found.startswith("Quality known too late")


@pytest.mark.parametrize("features", [None, ()])
def test_a_version_that_does_not_say_its_fields_fails(features):
    assert failed(features=features) == ["fields"]


def test_a_field_that_the_contract_does_not_know_fails():
    assert failed(unknown_fields=("Mystery",)) == ["fields"]


@pytest.mark.parametrize("found", [None, "", "aaaabbbbccccdddX"])
def test_training_on_other_data_fails(found):
    assert failed(candidate_data_hash=found) == ["same data"]


@pytest.mark.parametrize("wanted", [None, ""])
def test_prepared_data_without_a_hash_fails(wanted):
    assert failed(candidate_data_hash=wanted, data_hash=wanted) == ["same data"]


def test_hashes_that_differ_on_the_test_side_alone_look_different():
    check = judge(CONDITIONS, replace(GOOD, data_hash="aaaabbbbccccdddX")).failures()[0]
    assert check.found != check.wanted.split(",")[0]


def test_a_check_that_raises_fails_with_the_exceptions_text():
    def broken() -> Check:
        raise ZeroDivisionError("no leads\nat line 3")

    check = checked("share", broken)
    assert (check.passed, check.found) == (False, "ZeroDivisionError: no leads")


def test_an_attempt_that_works_gives_its_value_and_a_passed_check():
    value, check = attempted("model", lambda: 7, "a model", "train")
    assert (value, check.passed) == (7, True)


def test_an_earlier_failed_check_fails_the_report():
    _, check = attempted("model", lambda: 1 / 0, "a model that loads", "train again")
    assert [c.name for c in judge(CONDITIONS, GOOD, check).failures()] == ["model"]


def test_a_report_without_checks_is_not_passed():
    assert not GateReport(()).passed


def test_a_check_whose_outcome_is_not_a_boolean_true_fails():
    assert not GateReport((Check("AUC", NAN, "", "", ""),)).passed


def test_the_report_is_plain_json_whatever_is_missing():
    report = judge(CONDITIONS, replace(GOOD, candidate_auc=NAN, production_auc=INF, probe=None, features=None))
    again = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert again["passed"] is False
    assert [c["name"] for c in again["checks"]][:2] == ["same data", "fields"]


def test_the_table_has_a_row_per_check_and_a_remedy_per_failure():
    report = GateReport((Check("a|b", True, "1", "1", "no"), Check("c", False, "2\n3", "4", "Mend it.")))
    assert report.as_table().splitlines() == [
        "| check | result | found | wanted |",
        "|-------|--------|-------|--------|",
        "| a/b   | passed | 1     | 1      |",
        "| c     | FAILED | 2 3   | 4      |",
        "",
        "- c: Mend it.",
    ]
