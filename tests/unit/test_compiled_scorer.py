"""The compiled scorer without Spark: a tree written by hand, its artifact, and leads that are refused."""

import subprocess
import sys
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException

from pipelines.compiled import carried_code
from serving.compiled.calibrating import calibrated, grade_codes
from serving.compiled.checks import checked_batch
from serving.compiled.description import Calibration, CategoryInput, Grades
from serving.compiled.encoding import as_doubles, word_codes
from serving.compiled.errors import BadLead, CompiledUnreadable
from serving.compiled.pyfunc import FEW, CompiledModel
from serving.compiled.scorer import CompiledScorer, packed, percent, percent_one, unpacked
from tests.fuzz import fuzzed_leads
from tests.trees import TENTH, by_hand

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def scorer():
    return CompiledScorer(by_hand())


def leads(seconds: list, cities: list) -> pa.Table:
    return pa.table({"Seconds": pa.array(seconds, pa.float64()), "City": pa.array(cities, pa.string())})


@pytest.mark.parametrize(
    ("seconds", "city", "expected"),
    [
        (1.0, "Pune", 0.9),
        (TENTH, "Mumbai", 0.2),
        (np.nextafter(TENTH, 1), "Mumbai", 0.4),
        (np.nextafter(TENTH, 0), "Mumbai", 0.2),
        (None, "Mumbai", 0.4),
        (NAN, None, 0.4),
        (-INF, "Atlantis", 0.2),
        (INF, "Pune ", 0.9),
    ],
)
def test_a_lead_falls_to_the_leaf_that_the_tree_sends_it_to(scorer, seconds, city, expected):
    assert scorer.score(leads([seconds], [city])).probability.tolist() == [expected]


def test_scores_keep_the_order_of_the_leads(scorer):
    found = scorer.score(leads([9.0, 0.0, 9.0, 0.0], ["Mumbai", "Pune", "Pune", "Mumbai"]))
    assert found.probability.tolist() == [0.4, 0.9, 0.9, 0.2]


def test_words_read_as_dictionaries_score_the_same(scorer):
    plain = leads([1.0, 1.0, 1.0], ["Pune", None, "Atlantis"])
    coded = plain.set_column(1, "City", plain["City"].dictionary_encode())
    assert scorer.score(coded).probability.tolist() == scorer.score(plain).probability.tolist()


@pytest.mark.parametrize("places", [1, 5, 9])
def test_a_decimal_is_the_double_of_its_digits(places):
    decimals = [Decimal(number).scaleb(-places) for number in range(-999, 99_999, 37)]
    found = as_doubles(pa.array(decimals, pa.decimal128(18, places)))
    assert found.to_pylist() == [float(str(d)) for d in decimals]


@pytest.mark.parametrize("word", ["Pune ", " Pune", "\tPune\u00a0\n", "\ufeffPune"])
def test_blanks_around_a_word_count_for_nothing(scorer, word):
    table = leads([1.0, 1.0], [word, None])
    coded = table.set_column(1, "City", table["City"].dictionary_encode())
    assert scorer.score(table).probability.tolist() == scorer.score(coded).probability.tolist() == [0.9, 0.4]
    assert scorer.score_one({"Seconds": 1.0, "City": word})["probability"] == 0.9


def test_a_word_that_is_known_with_blanks_is_not_met_without_them():
    source = CategoryInput(name="City", labels=("Mumbai ", "Pune"), slots=3)
    assert word_codes(pa.array(["Mumbai ", "Mumbai", " Pune"]), source).tolist() == [2, 2, 1]


def test_blanks_around_a_word_do_not_make_it_too_long(scorer):
    word = f"Pune{' ' * 30}"
    assert scorer.score_one({"Seconds": 1.0, "City": word})["probability"] == 0.9
    checked_batch(leads([1.0], [word]), scorer.description)


def test_a_field_behind_two_indexers_is_looked_up_in_each():
    compiled = by_hand()
    seconds, city = compiled.description.inputs
    turned = city.model_copy(update={"labels": ("Pune", "Mumbai")})
    description = compiled.description.model_copy(update={"inputs": (seconds, city, turned)})
    scorer = CompiledScorer(replace(compiled, description=description))
    assert scorer.score_one({"Seconds": 1.0, "City": "Pune"})["probability"] == 0.9
    assert scorer.score(leads([1.0], ["Pune"])).probability.tolist() == [0.9]


def test_fuzzed_leads_go_where_models_break():
    found = fuzzed_leads(by_hand(), 3_000)
    seconds, cities = set(found["Seconds"].to_pylist()), set(found["City"].to_pylist())
    assert {TENTH, np.nextafter(TENTH, 1), np.nextafter(TENTH, 0), None, INF, -INF} <= seconds
    assert any(value != value for value in seconds if value is not None)
    assert {None, "", "Pune", "Pune ", "Atlantis", "x" * 20_000} <= cities


def test_an_empty_batch_gives_no_scores(scorer):
    assert len(scorer.score(leads([], [])).probability) == 0


def test_a_column_of_another_type_is_refused_by_name(scorer):
    with pytest.raises(BadLead, match="Seconds is string, expected a number"):
        scorer.score(pa.table({"Seconds": ["1"], "City": ["Pune"]}))


def test_a_score_is_in_percent_with_one_decimal(scorer):
    said = scorer.score_one({"Seconds": 3.0, "City": "Pune"})
    assert said == {"score": 90.0, "probability": 0.9, "prediction": 1, "grade": None}


def test_every_half_of_a_score_is_rounded_by_its_decimal_digits():
    halves = [k / 2000 for k in range(2001)]
    wanted = [float(Decimal(str(p * 100)).quantize(Decimal("0.1"), ROUND_HALF_UP)) for p in halves]
    assert percent(np.array(halves)).tolist() == [percent_one(p) for p in halves] == wanted


@pytest.mark.parametrize(
    ("lead", "said"),
    [
        ({"Seconds": 1.0}, "lacks City"),
        ({"Seconds": 1.0, "City": "Pune", "Citty": "x"}, "Citty is no field of the model; did you mean City"),
        ({"Seconds": "1", "City": "Pune"}, "Seconds is '1' .str., expected a number or null"),
        ({"Seconds": True, "City": "Pune"}, "Seconds is True .bool., expected a number or null"),
        ({"Seconds": -1, "City": "Pune"}, "Seconds is -1, expected 0 to 1e.06 or null"),
        ({"Seconds": NAN, "City": "Pune"}, "Seconds is nan"),
        ({"Seconds": 1, "City": 5}, "City is 5 .int., expected text or null"),
        ({"Seconds": 1, "City": "P" * 21}, "City has 21 characters, at most 20"),
    ],
)
def test_a_lead_outside_the_contract_is_refused_with_its_fault(scorer, lead, said):
    with pytest.raises(BadLead, match=said):
        scorer.score_one(lead)


@pytest.mark.parametrize("rows", [1, FEW + 1])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"City": 5}, "City is 5 .int., expected text or null"),
        ({"Seconds": "1"}, "Seconds is '1' .str., expected a number or null"),
        ({"Seconds": True}, "Seconds is True .bool., expected a number or null"),
    ],
)
def test_a_type_that_the_contract_refuses_is_refused_of_few_leads_and_of_many(scorer, rows, change, said):
    model = CompiledModel()
    model.scorer = scorer
    with pytest.raises(MlflowException, match=said):
        model.predict(None, pd.DataFrame([{"Seconds": 1.0, "City": "Pune"} | change] * rows))


@pytest.mark.parametrize("rows", [1, FEW + 1])
def test_half_a_character_is_a_bad_request_to_mlflow(scorer, rows):
    model = CompiledModel()
    model.scorer = scorer
    with pytest.raises(MlflowException, match=r"'\\ud800'") as refused:
        model.predict(None, pd.DataFrame({"Seconds": [1.0] * rows, "City": ["\ud800"] * rows}))
    assert refused.value.error_code == "BAD_REQUEST"


def test_calibration_is_exact_on_a_boundary_straight_between_and_level_outside():
    line = Calibration(boundaries=(0.2, 0.4, 0.8), predictions=(0.1, 0.3, 0.9))
    found = calibrated(np.array([0.0, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0]), line)
    assert found.tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.6, 0.9, 0.9])
    assert found[3] == 0.3


def test_a_grade_begins_at_its_cut():
    grades = Grades(splits=(-INF, 0.2, 0.8, INF), labels=("C", "B", "A"))
    assert grade_codes(np.array([0.19, 0.2, 0.8]), grades).tolist() == [0, 1, 2]


def test_where_calibration_jumps_the_votes_for_both_labels_decide():
    jump = Calibration(boundaries=(0.4, np.nextafter(0.4, 1)), predictions=(0.0, 1.0))
    scorer = CompiledScorer(by_hand(jump))
    assert scorer.score(leads([9.0], ["Mumbai"])).probability.tolist() == [0.0]


def test_a_scorer_travels_as_bytes(scorer):
    table = leads([1.0, 0.0], ["Mumbai", "Mumbai"])
    assert unpacked(packed(scorer)).score(table).probability.tolist() == scorer.score(table).probability.tolist()


@pytest.mark.parametrize("name", ["description.json", "trees.npz", "forest.onnx"])
def test_a_damaged_artifact_is_refused(scorer, tmp_path, name):
    scorer.save(tmp_path)
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(CompiledUnreadable):
        CompiledScorer.load(tmp_path)


def test_the_code_that_a_model_carries_scores_without_spark(scorer, tmp_path):
    scorer.save(tmp_path / "artifact")
    carried_code(tmp_path / "code")
    program = (
        "import sys; from pathlib import Path; from serving.compiled.scorer import CompiledScorer; "
        f"s = CompiledScorer.load(Path({str(tmp_path / 'artifact')!r})); "
        "print(s.score_one({'Seconds': 1.0, 'City': 'Pune'})['score'], 'pyspark' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path / "code"
    )
    assert ended.stdout.split() == ["90.0", "False"], ended.stderr
