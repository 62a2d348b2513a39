"""Model card, evaluation report and the version's description, from what is on record of a model."""

from dataclasses import replace

import pytest

from evaluation.document import Code, Document, Picture, Section, Table, Text
from evaluation.evaluation_page import evaluation_page
from evaluation.model_card import LONGEST_DESCRIPTION, description, limits, model_card
from evaluation.model_facts import ModelFacts
from tests.leads import small_contract

INTERVAL = {"value": 0.9, "low": 0.88, "high": 0.92}
BAD_GAP = {"value": -0.2, "low": -0.3, "high": -0.1}
SLICE = {
    "field": "City",
    "value": "Pune <b>",
    "leads": 300,
    "small": False,
    "rate": 0.3,
    "mean_score": 0.35,
    "mean_score_uncalibrated": 0.41,
    "ece": 0.021,
    "ece_uncalibrated": 0.098,
    "auc": INTERVAL,
    "auc_gap": BAD_GAP,
    "calibration_gap": {"value": 0.05, "low": 0.01, "high": 0.09},
    "calibration_gap_uncalibrated": {"value": 0.11, "low": 0.07, "high": 0.15},
    "grades": {"A": 0.2, "B": 0.0, "C": 0.3, "D": 0.5},
    "grades_low": {"A": 0.15, "B": 0.0, "C": 0.25, "D": 0.44},
    "grades_high": {"A": 0.26, "B": 0.02, "C": 0.36, "D": 0.56},
    "brier_gap": {"value": 0.02, "low": -0.01, "high": 0.05},
}
GRADE = {"grade": "A", "leads": 100, "share": 0.2, "converted": 85, "rate": 0.85, "low": 0.77, "high": 0.9}
SUSPECT = {"field": "Visits", "rule": "knows", "sentence": "Visits alone has an AUC of 0.97.", "declared_late": False}
FIELD = {"name": "Visits", "known_at": "browsing", "auc": 0.7, "filled": 90, "leads": 100}
FACTS = ModelFacts(
    name="lead-scoring",
    version=3,
    run_id="0123456789abcdef",
    params={"features": "available", "trees": "100", "depth": "10", "calibrate": "isotonic"},
    tags={
        "features": "Visits,City",
        "feature_set": "available",
        "split": "grouped",
        "entry_point": "train",
        "git_commit": "abc",
        "data_hash": "dd",
    },
    metrics={"test_auc_roc": 0.9, "test_rows": 2700.0, "test_ece": 0.021, "test_ece_uncalibrated": 0.1},
    reports={
        "intervals.json": {
            "metrics": {"auc_roc": INTERVAL},
            "leads": 2700,
            "total": 2700,
            "groups": 2400,
            "resamples": 1000,
        },
        "slices.json": {"slices": [SLICE, SLICE | {"value": "Goa", "small": True}], "protected": ["City"]},
        "grades.json": {"monotone": True, "cuts": {"a": 0.7, "b": 0.4, "c": 0.2}, "grades": [GRADE]},
        "leakage.json": {"suspects": [], "fields": [FIELD]},
        "importance.json": {"fields": [{"field": "Visits", "auc_loss": INTERVAL, "impurity_share": 0.4}]},
    },
    pictures={"plots/roc.png": b"png", "plots/unheard_of.png": b"png"},
    manifest={
        "rows": {"train": 6500, "test": 2700, "quarantined": 4},
        "quarantined_for": {"bad label": 4},
        "split": "grouped",
    },
    contract=small_contract(),
    asks=("features", "trees", "depth", "calibrate"),
)
BARE = replace(FACTS, version=None, params={}, tags={}, metrics={}, reports={}, pictures={}, manifest={}, asks=())
HONEST = {
    "late_fields": ["Tag"],
    "sides": {
        "with the late fields": {"metrics": {"auc_roc": {"value": 0.97, "low": 0.96, "high": 0.98}}},
        "without them (honest)": {"metrics": {"auc_roc": INTERVAL}},
    },
    "honest_less_leaky": {"metrics": {"auc_roc": {"value": -0.07, "low": -0.08, "high": -0.06}}},
}


def without(path):
    return replace(FACTS, reports={k: v for k, v in FACTS.reports.items() if k != path})


def reporting(path, report):
    return replace(FACTS, reports={**FACTS.reports, path: report})


def row_of(document, start, column="from probability"):
    """The row that starts so, of the first Markdown table with such a column."""
    lines = document.as_markdown().splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("|") and f"| {column}" in line) :]
    (found,) = [line for line in table[: table.index("")] if line.startswith(f"| {start}")]
    return found


def test_a_card_tells_the_area_with_its_interval_and_the_leads():
    assert "ROC AUC 0.900 (0.880 to 0.920) on 2,700 test leads" in model_card(FACTS).as_markdown()


def test_a_card_tells_the_expected_conversion_of_a_grade():
    assert row_of(model_card(FACTS), "A |") == "| A | 0.700 | 100 | 20.0% | - | 85.0% (77.0% to 90.0%) |"


def test_a_card_tells_the_mean_score_of_a_grade_beside_what_converted():
    told = reporting("grades.json", {**FACTS.reports["grades.json"], "grades": [GRADE | {"mean_score": 0.834}]})
    assert "| 83.4% | 85.0% (77.0% to 90.0%) |" in row_of(model_card(told), "A |")


def test_a_card_tells_the_gaps_of_a_slice_with_their_intervals():
    row = row_of(model_card(FACTS), "City | Pune", "AUC gap")
    assert "| -0.200 (-0.300 to -0.100) | +0.020 (-0.010 to +0.050) |" in row


def test_a_slice_without_gaps_has_dashes():
    bare = {k: v for k, v in SLICE.items() if "_gap" not in k} | {"auc_gap": None}
    card = model_card(reporting("slices.json", {"slices": [bare], "protected": []}))
    assert row_of(card, "City | Pune", "AUC gap").endswith("| - | - |")
    assert row_of(card, "City | Pune", "calibration gap").endswith("| - | - |")


def slices_of(**changes):
    """The facts with one slice, some of whose numbers are others or None."""
    return reporting("slices.json", {"slices": [SLICE | changes], "protected": []})


@pytest.mark.parametrize("document", [model_card, evaluation_page])
def test_the_calibration_of_a_slice_is_told_before_and_after(document):
    page = document(FACTS)
    head = "calibration error before | calibration error after | calibration gap before | calibration gap after |"
    assert f"| field | value | leads | {head}" in page.as_markdown()
    told = "| 0.098 | 0.021 | +0.110 (+0.070 to +0.150) | +0.050 (+0.010 to +0.090) |"
    assert row_of(page, "City | Pune", "calibration gap").endswith(told)


def test_without_a_calibration_the_figures_of_a_slice_stand_alone():
    names = ("mean_score", "ece", "calibration_gap")
    card = model_card(slices_of(**{f"{name}_uncalibrated": None for name in names}))
    assert "| field | value | leads | calibration error | calibration gap |" in card.as_markdown()
    assert row_of(card, "City | Pune", "calibration gap").endswith("| 300 | 0.021 | +0.050 (+0.010 to +0.090) |")


@pytest.mark.parametrize("document", [model_card, evaluation_page])
def test_the_grade_shares_of_a_slice_are_told_with_their_intervals(document):
    shares = "20.0% (15.0% to 26.0%) | 0.0% (0.0% to 2.0%) | 30.0% (25.0% to 36.0%) | 50.0% (44.0% to 56.0%)"
    assert f"| {shares} |" in row_of(document(FACTS), "City | Pune", "A | B | C | D")


def test_a_small_slice_is_marked_beside_its_grade_shares():
    assert "| 300 (few) |" in row_of(model_card(FACTS), "City | Goa", "A | B | C | D")


def test_without_grades_there_is_no_table_of_their_shares():
    text = model_card(slices_of(grades={}, grades_low={}, grades_high={})).as_markdown()
    assert "A | B | C | D" not in text


def test_grade_shares_on_record_without_intervals_are_told_without():
    card = model_card(reporting("slices.json", {"slices": [{k: v for k, v in SLICE.items() if "grades_" not in k}]}))
    assert "| 20.0% | 0.0% | 30.0% | 50.0% |" in row_of(card, "City | Pune", "A | B | C | D")


GRADED = GRADE | {"mean_score": 0.834, "ece": 0.02, "mean_score_uncalibrated": 0.71, "ece_uncalibrated": 0.14}


@pytest.mark.parametrize("document", [model_card, evaluation_page])
def test_the_calibration_of_a_grade_is_told_before_and_after(document):
    page = document(reporting("grades.json", {**FACTS.reports["grades.json"], "grades": [GRADED]}))
    assert row_of(page, "A |", "converted | mean score before") == "| A | 85.0% | 71.0% | 83.4% | 0.140 | 0.020 |"


def test_without_a_calibration_the_figures_of_a_grade_stand_alone():
    plain = {k: v for k, v in GRADED.items() if not k.endswith("_uncalibrated")}
    card = model_card(reporting("grades.json", {**FACTS.reports["grades.json"], "grades": [plain]}))
    assert row_of(card, "A |", "converted | mean score | calibration error") == "| A | 85.0% | 83.4% | 0.020 |"


def test_a_small_slice_is_marked_where_there_are_no_colours():
    assert "| 300 (few) |" in row_of(model_card(FACTS), "City | Goa", "AUC gap")


def test_slices_stand_in_the_order_of_the_report():
    slices = [SLICE | {"value": v} for v in ("Pune", "Agra", "Goa")]
    text = model_card(reporting("slices.json", {"slices": slices, "protected": []})).as_markdown()
    assert text.index("| Pune |") < text.index("| Agra |") < text.index("| Goa |")


@pytest.mark.parametrize("document", [model_card, evaluation_page])
def test_what_shuffling_a_field_costs_is_told_with_its_interval(document):
    text = document(FACTS).as_markdown()
    assert "| field | AUC lost when its values are shuffled (95% interval) |" in text
    assert "| Visits | +0.9000 (+0.8800 to +0.9200) | 40.0% |" in text


def test_the_evaluation_page_tells_what_the_late_fields_lend_the_model():
    page = evaluation_page(reporting("honest.json", HONEST))
    spans = "0.970 (0.960 to 0.980) | 0.900 (0.880 to 0.920) | -0.070 (-0.080 to -0.060)"
    assert f"| ROC AUC | {spans} |" in page.as_markdown()
    assert "| measure | with the late fields | without them (honest) | honest less leaky |" in page.as_markdown()


def test_a_card_names_the_fields_that_are_known_too_late_to_be_used():
    assert "| Tag | known at contact, after the lead is scored |" in model_card(FACTS).as_markdown()


def test_a_card_tells_why_rows_were_refused():
    assert "| bad label | 4 |" in model_card(FACTS).as_markdown()


def test_a_card_tells_how_to_make_the_model_again():
    text = model_card(FACTS).as_markdown()
    assert "git checkout abc" in text
    assert "mlflow run . -e train -P features=available -P trees=100 -P depth=10 -P calibrate=isotonic" in text


def test_a_command_takes_what_a_sweep_was_asked_for_and_not_what_it_found():
    params = FACTS.params | {"grid": "trees=50,100;depth=5", "candidates": "2"}
    facts = replace(FACTS, params=params, tags=FACTS.tags | {"entry_point": "sweep_cv"}, asks=("features", "grid"))
    line = "mlflow run . -e sweep_cv -P features=available -P grid='trees=50,100;depth=5'"
    assert line in model_card(facts).as_markdown().splitlines()


def test_a_parameter_that_is_not_on_record_is_told_beside_the_command():
    text = model_card(replace(FACTS, asks=("features", "grid"))).as_markdown()
    assert "Not on record, so as the command has it: grid." in text


def test_a_model_of_an_unknown_command_is_not_told_to_be_made_again():
    assert "mlflow run" not in model_card(replace(FACTS, asks=())).as_markdown()


@pytest.mark.parametrize("path", sorted(FACTS.reports))
def test_a_card_says_which_part_is_missing(path):
    facts = without(path)
    assert f"Not on record: {facts.missing[0]}." in model_card(facts).as_markdown()


def test_a_missing_leak_report_is_not_told_as_no_suspect():
    assert "Leak suspects: not probed." in description(without("leakage.json"))


def test_a_suspect_is_told_with_its_sentence():
    facts = replace(FACTS, reports={**FACTS.reports, "leakage.json": {"suspects": [SUSPECT], "fields": [FIELD]}})
    assert "Visits alone has an AUC of 0.97." in model_card(facts).as_html()
    assert "Leak suspects: Visits." in description(facts)


def test_a_model_of_which_nothing_is_on_record_still_has_documents():
    assert "not measured" in model_card(BARE).as_markdown()
    assert "Not on record" in evaluation_page(BARE).as_html()


def test_scores_without_calibration_are_told_as_a_limit():
    assert "not to be read as rates" in limits(replace(FACTS, metrics={"test_ece": 0.12}))[0]


def test_late_fields_are_the_first_limit():
    facts = replace(FACTS, tags={**FACTS.tags, "features": "Visits,Tag"})
    assert limits(facts)[0] == "It uses fields known too late to score a new lead: Tag."


def test_a_description_is_bounded_however_much_there_is_to_tell():
    facts = replace(FACTS, tags={**FACTS.tags, "features": ",".join(["Tag"] * 9), "feature_set": "x" * 9000})
    assert len(description(facts)) == LONGEST_DESCRIPTION


def test_the_evaluation_page_shows_every_picture_of_the_run():
    page = evaluation_page(FACTS).as_html()
    assert page.count("data:image/png;base64,") == 2


def test_words_of_the_data_are_escaped():
    page = model_card(FACTS).as_html()
    assert "Pune &lt;b&gt;" in page
    assert "Pune <b>" not in page + model_card(FACTS).as_markdown()


def test_a_page_loads_nothing_from_anywhere():
    page = evaluation_page(FACTS).as_html()
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_cell_cannot_break_a_markdown_table():
    table = Table(("a",), (("x | y\nz",),))
    text = Document("t", "s", (Section("q", (table, Text("p"), Code("```\nrm"), Picture("c", b""))),)).as_markdown()
    assert "| x / y z |" in text
    assert text.count("```") == 2
