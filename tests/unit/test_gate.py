"""The promotion gate: each condition by itself, and that nothing missing ever passes."""

import json
import math
from dataclasses import replace

import pytest

from evaluation.bootstrap import Interval
from evaluation.gate import judge
from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Cost, Evidence, LeakFindings, Parity, Probe
from evaluation.gate_measures import Measured, SliceMeasure
from evaluation.gate_page import gate_document
from evaluation.gate_report import Check, GateReport, attempted, checked
from evaluation.grades import GradeRow, GradeTable
from features.contract_file import ContractError, load_yaml, parse_yaml
from pipelines.settings import Settings

CONDITIONS = GateConditions()
NAN, INF = math.nan, math.inf
MEASURED = Measured(
    leads=2000,
    all_leads=4000,
    auc=Interval(0.90, 0.88, 0.92),
    production_auc=0.89,
    brier=Interval(0.13, 0.12, 0.14),
    production_brier=0.13,
    auc_difference=Interval(0.01, -0.004, 0.02),
    brier_difference=Interval(-0.002, -0.006, 0.002),
    ece=0.02,
    production_ece=0.02,
    slices=(),
)
GRADES = GradeTable(
    (
        GradeRow("A", 400, 0.2, 340, 0.85, 0.8, 0.9),
        GradeRow("B", 400, 0.2, 220, 0.55, 0.5, 0.6),
        GradeRow("C", 0, 0.0, 0, None, None, None),
        GradeRow("D", 1200, 0.6, 60, 0.05, 0.04, 0.06),
    )
)
GOOD = Evidence(
    has_production=True,
    measured=MEASURED,
    test_scores=Probe(sent=4000, returned=4000, finite=4000, in_range=4000),
    probe=Probe(sent=52, returned=52, finite=52, in_range=52),
    graded=True,
    grades=GRADES,
    features=("Visits", "City"),
    late_fields=(),
    unknown_fields=(),
    allowed_late_fields=(),
    leaks=LeakFindings(("Visits", "City", "Number"), ()),
    schema={"Visits": "double", "City": "string"},
    production_schema={"Visits": "double", "City": "string"},
    allow_schema_change=False,
    parity=(Parity("batch", 1000, 0.0),),
    cost=Cost(candidate=40.0, production=30.0),
    candidate_data_hash="aaaabbbbccccdddd",
    data_hash="aaaabbbbccccdddd",
)
FIRST = replace(
    GOOD,
    has_production=False,
    measured=replace(MEASURED, production_auc=None, auc_difference=None, brier_difference=None, production_ece=None),
    production_schema=None,
    cost=Cost(40.0, None),
)


def failures(evidence):
    return judge(CONDITIONS, evidence).failures()


def failed(**changes):
    """Names of the checks that fail when the good evidence is changed so."""
    return [c.name for c in failures(replace(GOOD, **changes))]


def failed_measures(**changes):
    """The same where the good measures are changed."""
    return failed(measured=replace(MEASURED, **changes))


def slice_of(change, promised=None, theirs=0.0):
    promised = promised or Interval(0.0, -0.05, 0.05)
    return (SliceMeasure("City", "Pune", 300, change, promised, theirs),)


def test_good_evidence_passes():
    assert judge(CONDITIONS, GOOD).passed


def test_a_first_version_needs_no_production_to_pass():
    assert failures(FIRST) == ()


def test_the_shipped_conditions_are_the_defaults():
    assert load_yaml(Settings().gate_file, GateConditions) == GateConditions()


def test_an_unknown_condition_is_refused_with_its_line():
    with pytest.raises(ContractError, match=r"gate\.yaml line 2: min_aucc"):
        parse_yaml("min_auc: 0.9\nmin_aucc: 0.9\n", GateConditions, "gate.yaml")


@pytest.mark.parametrize("value", [".nan", ".inf", "0.4", "yes please"])
def test_a_condition_out_of_range_is_refused(value):
    with pytest.raises(ContractError, match="min_auc"):
        parse_yaml(f"min_auc: {value}", GateConditions, "gate.yaml")


@pytest.mark.parametrize("missing", ["measured", "test_scores", "probe", "graded", "leaks", "schema", "parity", "cost"])
def test_evidence_that_could_not_be_collected_fails(missing):
    assert failed(**{missing: None})


@pytest.mark.parametrize("missing", ["measured", "test_scores", "probe", "graded", "leaks", "schema", "parity", "cost"])
def test_evidence_on_a_first_version_that_could_not_be_collected_fails(missing):
    assert failures(replace(FIRST, **{missing: None}))


@pytest.mark.parametrize("auc", [NAN, INF, -INF, 0.849, 1.2, "0.9"])
def test_an_auc_that_is_impossible_or_too_low_fails(auc):
    assert "AUC" in failed_measures(auc=Interval(auc, 0.8, 0.9))


def test_an_auc_at_the_limit_passes():
    assert failed_measures(auc=Interval(0.85, 0.8, 0.9)) == []


def test_a_loss_whose_lower_end_is_at_the_limit_passes_whatever_the_rounding():
    assert 0.90 - 0.89 > 0.01
    assert failed_measures(auc_difference=Interval(-0.002, 0.89 - 0.90, 0.002)) == []


def test_a_loss_that_may_be_larger_than_the_limit_fails_though_its_estimate_is_small():
    check = failures(replace(GOOD, measured=replace(MEASURED, auc_difference=Interval(-0.002, -0.011, 0.007))))[0]
    assert (check.name, check.found) == ("AUC against Production", "-0.0020 (-0.0110 to +0.0070)")


def test_a_brier_score_that_may_have_risen_above_the_limit_fails():
    assert failed_measures(brier_difference=Interval(0.002, -0.002, 0.006)) == ["Brier against Production"]


@pytest.mark.parametrize("name", ["auc_difference", "brier_difference"])
@pytest.mark.parametrize("found", [None, Interval(NAN, NAN, NAN), Interval(0.0, NAN, 0.0), Interval(0.0, 0.0, INF)])
def test_a_difference_that_is_missing_or_no_number_fails(name, found):
    assert failed_measures(**{name: found})


def test_a_calibration_error_above_the_limit_fails():
    assert failed_measures(ece=0.051, production_ece=0.05) == ["calibration"]


def test_a_calibration_error_much_above_production_s_fails():
    assert failed_measures(ece=0.045, production_ece=0.02) == ["calibration"]


@pytest.mark.parametrize("ece", [NAN, INF, -0.1])
def test_a_calibration_error_that_is_no_number_fails(ece):
    assert failed_measures(ece=ece) == failed_measures(production_ece=ece) == ["calibration"]


def test_a_calibration_error_of_production_that_is_missing_fails():
    assert failed_measures(production_ece=None) == ["calibration"]


def test_a_slice_that_lost_its_order_for_sure_fails_by_name():
    fallen = slice_of(Interval(-0.2, -0.3, -0.1))
    assert failed_measures(slices=fallen) == ["slices"]
    assert "City=Pune (300 leads)" in failures(replace(GOOD, measured=replace(MEASURED, slices=fallen)))[0].found


def test_a_slice_whose_loss_chance_explains_passes():
    assert failed_measures(slices=slice_of(Interval(-0.06, -0.14, 0.02))) == []


def test_a_slice_bad_by_itself_passes_among_forty_where_chance_explains_one():
    lost = slice_of(Interval(-0.2, -0.35, -0.05))
    assert failed_measures(slices=lost) == ["slices"]
    assert failed_measures(slices=40 * lost) == []


def test_a_slice_that_surely_lost_a_little_passes():
    assert failed_measures(slices=slice_of(Interval(-0.03, -0.04, -0.02))) == []


def test_a_slice_that_promises_far_too_much_fails():
    assert failed_measures(slices=slice_of(None, Interval(0.3, 0.2, 0.4))) == ["slices"]


def test_a_slice_for_which_production_promises_as_falsely_passes():
    assert failed_measures(slices=slice_of(None, Interval(0.3, 0.2, 0.4), theirs=0.3)) == []


def test_a_slice_measured_as_no_number_fails():
    assert failed_measures(slices=slice_of(Interval(NAN, NAN, NAN))) == ["slices"]


def test_a_hard_slice_of_a_first_version_is_held_against_all_leads():
    hard = replace(FIRST.measured, slices=slice_of(Interval(-0.2, -0.3, -0.1), theirs=None))
    harder = replace(FIRST.measured, slices=slice_of(Interval(-0.3, -0.4, -0.2), theirs=None))
    assert failures(replace(FIRST, measured=hard)) == ()
    assert [c.name for c in failures(replace(FIRST, measured=harder))] == ["slices"]


def test_grades_that_do_not_fall_fail():
    a, b, c, d = GRADES.rows
    assert failed(grades=GradeTable((a, replace(b, rate=0.9), c, d))) == ["grades"]


def test_a_grade_of_a_few_leads_is_not_compared():
    a, b, c, d = GRADES.rows
    assert failed(grades=GradeTable((a, replace(b, rate=0.9, leads=29), c, d))) == []


def test_a_version_without_grades_passes():
    assert failed(graded=False, grades=None) == []


@pytest.mark.parametrize("leads", [NAN, INF, 0, 99])
def test_too_few_test_leads_fail(leads):
    assert failed_measures(leads=leads) == ["test leads"]


@pytest.mark.parametrize("name", ["probe", "test_scores"])
@pytest.mark.parametrize(
    "counts", [None, (0, 0, 0, 0), (52, 51, 51, 51), (52, 53, 53, 53), (52, 52, 51, 51), (52, 52, 52, 51)]
)
def test_a_lead_lost_doubled_or_given_no_probability_fails(name, counts):
    check = {"probe": "probe leads", "test_scores": "finite scores"}[name]
    assert failed(**{name: Probe(*counts) if counts else None}) == [check]


def test_a_late_field_fails_by_name():
    assert [c.found for c in failures(replace(GOOD, late_fields=("City",)))] == ["City known too late"]


def test_a_late_field_allowed_by_name_passes_and_stays_on_the_record():
    report = judge(CONDITIONS, replace(GOOD, late_fields=("City",), allowed_late_fields=("City",)))
    assert report.passed
    assert "City known too late, allowed by name" in report.as_table()


def test_allowing_one_late_field_does_not_allow_another():
    found = failures(replace(GOOD, late_fields=("City", "Visits"), allowed_late_fields=("City",)))[0].found
    assert found.startswith("Visits known too late")


@pytest.mark.parametrize("features", [None, ()])
def test_a_version_that_does_not_say_its_fields_fails(features):
    assert failed(features=features) == ["fields", "leak report"]


def test_a_field_that_the_contract_does_not_know_fails():
    assert failed(unknown_fields=("Mystery",)) == ["fields"]


def test_a_suspect_of_the_leak_report_fails_with_its_sentence():
    accused = LeakFindings(("Visits", "City"), (("City", "City alone has an AUC of 0.97."),))
    assert [c.found for c in failures(replace(GOOD, leaks=accused))] == ["City alone has an AUC of 0.97."]


def test_a_suspect_allowed_by_name_passes():
    accused = LeakFindings(("Visits", "City"), (("City", "City alone has an AUC of 0.97."),))
    assert failed(leaks=accused, allowed_late_fields=("City",)) == []


def test_a_field_that_the_leak_probe_did_not_look_at_fails():
    assert failed(leaks=LeakFindings(("Visits",), ())) == ["leak report"]


def test_a_leak_report_is_read_without_what_is_declared_late():
    suspect = {"field": "Tag", "sentence": "Tag knows.", "declared_late": False}
    late = suspect | {"field": "Quality", "declared_late": True}
    found = LeakFindings.of({"fields": [{"name": "Tag"}, {"name": "Quality"}], "suspects": [suspect, late]})
    assert found == LeakFindings(("Tag", "Quality"), (("Tag", "Tag knows."),))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"Visits": "double"}, "City (string) gone"),
        ({"Visits": "double", "City": "string", "Age": "double"}, "Age (double) added"),
        ({"Visits": "double", "City": "double"}, "City string -> double"),
    ],
)
def test_other_input_columns_than_production_s_fail_unless_allowed(schema, said):
    assert [c.found for c in failures(replace(GOOD, schema=schema))] == [said]
    assert failed(schema=schema, allow_schema_change=True) == []


def test_a_schema_of_production_that_is_unknown_fails_even_where_a_change_is_allowed():
    assert failed(production_schema=None, allow_schema_change=True) == ["schema"]


@pytest.mark.parametrize("parity", [(), (Parity("compiled", 0, 0.0),), (Parity("compiled", 9, NAN),)])
def test_ways_of_serving_that_were_not_compared_fail(parity):
    assert failed(parity=parity) == ["parity"]


def test_one_way_of_serving_that_differs_fails_by_name():
    found = failures(replace(GOOD, parity=(*GOOD.parity, Parity("compiled", 500, 0.02))))
    assert [c.found for c in found] == ["compiled 0.02 apart on 500 leads"]


@pytest.mark.parametrize("ms", [NAN, INF, 0.0, 90.1])
def test_a_scoring_cost_above_the_factor_or_no_number_fails(ms):
    assert failed(cost=Cost(ms, 30.0)) == ["scoring cost"]


@pytest.mark.parametrize("ms", [None, NAN, 0.0])
def test_a_scoring_cost_of_production_that_is_missing_fails(ms):
    assert failed(cost=Cost(30.0, ms)) == ["scoring cost"]


@pytest.mark.parametrize("found", [None, "", "aaaabbbbccccdddX"])
def test_training_on_other_data_fails(found):
    assert failed(candidate_data_hash=found) == ["same data"]


@pytest.mark.parametrize("wanted", [None, ""])
def test_prepared_data_without_a_hash_fails(wanted):
    assert failed(candidate_data_hash=wanted, data_hash=wanted) == ["same data"]


def test_hashes_that_differ_on_the_test_side_alone_look_different():
    check = failures(replace(GOOD, data_hash="aaaabbbbccccdddX"))[0]
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
    report = judge(CONDITIONS, replace(GOOD, measured=None, probe=None, features=None))
    again = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert again["passed"] is False
    assert [c["name"] for c in again["checks"]][:2] == ["same data", "fields"]


def test_the_page_lists_slices_that_failed_first_and_the_others_by_their_loss():
    certain, unsure = Interval(0.0, -0.05, 0.05), Interval(-0.02, -0.05, 0.01)
    found = {
        "lost": slice_of(Interval(-0.04, -0.06, -0.02), certain),
        "won": slice_of(Interval(0.01, -0.03, 0.05), certain),
        "few": slice_of(None, certain),
        "false": slice_of(None, Interval(0.3, 0.25, 0.35)),
        "lost a little": slice_of(unsure, certain),
    }
    slices = tuple(replace(one, value=value) for value, (one,) in found.items())
    evidence = replace(GOOD, measured=replace(MEASURED, slices=slices))
    page = gate_document(judge(CONDITIONS, evidence), evidence, CONDITIONS, "version 2").as_markdown()
    rows = [line.split(" | ")[1:3] for line in page.splitlines() if line.startswith("| City |")]
    assert rows[0] == ["false", "FAILED"]
    assert [value for value, _ in rows] == ["false", "lost", "lost a little", "few", "won"]


def test_the_report_as_a_tag_fits_the_registry_s_5000_letters_though_every_check_fails():
    broken = replace(GOOD, measured=None, leaks=LeakFindings((), (("City", "x" * 9000),)))
    assert len(json.dumps(judge(CONDITIONS, broken).as_tag())) < 5000


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


@pytest.mark.parametrize("evidence", [GOOD, FIRST, replace(GOOD, measured=None)], ids=["good", "first", "unmeasured"])
def test_the_page_names_every_check(evidence):
    report = judge(CONDITIONS, evidence)
    page = gate_document(report, evidence, CONDITIONS, "small version 2").as_html()
    assert all(c.name in page for c in report.checks)
