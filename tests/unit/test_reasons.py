"""Reasons: exact shares by field, points that add up to the score, and words."""

import numpy as np
import pyarrow as pa
import pytest

from serving.compiled.calibrating import calibrated
from serving.compiled.description import Calibration, Compiled, Description, NumericInput, Trees
from serving.compiled.errors import CannotExplain
from serving.compiled.layout import layout
from serving.compiled.paths import codes, forest_paths
from serving.compiled.points import points
from serving.compiled.reasons import most, reasons, told_reason
from serving.compiled.scorer import CompiledScorer
from serving.compiled.shapley import MANY, contributions, grouped
from tests.forests import INPUTS, enumerated, expected, random_forest, random_leads, vector

FIELDS = [i.name for i in INPUTS]
LINE = Calibration(boundaries=(0.2, 0.4, 0.5, 0.8), predictions=(0.05, 0.3, 0.3, 0.9))
JUMP = Calibration(boundaries=(0.5, 0.5 + 1e-9), predictions=(0.1, 0.8))


def both(first: float, second: float) -> Compiled:
    """One tree: 0.9 where N0 and N1 are both above a half, else 0.1; shares of the training leads below are given."""
    counts = [1, first, 1 - first, (1 - first) * second, (1 - first) * (1 - second)]
    trees = Trees(
        roots=np.array([0], np.int32),
        slot=np.array([0, -1, 1, -1, -1], np.int32),
        threshold=np.array([0.5, np.nan, 0.5, np.nan, np.nan]),
        set_of=np.full(5, -1, np.int32),
        left=np.array([1, -1, 3, -1, -1], np.int32),
        right=np.array([2, -1, 4, -1, -1], np.int32),
        leaf0=np.array([np.nan, 0.9, np.nan, 0.9, 0.1]),
        leaf1=np.array([np.nan, 0.1, np.nan, 0.1, 0.9]),
        count=100 * np.array(counts, np.float64),
        sets=np.zeros((0, 1), np.bool_),
    )
    names = (NumericInput(name="N0"), NumericInput(name="N1"), NumericInput(name="idle"))
    return Compiled(Description(inputs=names, link="votes"), trees)


def by_field(explained, lead: int = 0) -> dict[str, float]:
    return dict(zip(explained.fields, explained.contributions[:, lead].tolist(), strict=True))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shares_are_the_shapley_values_that_enumeration_finds(seed):
    compiled, leads = random_forest(seed), random_leads(8, seed)
    explained = CompiledScorer(compiled).explain(leads)
    for at, lead in enumerate(leads.to_pylist()):
        slots = vector(lead)
        found = by_field(explained, at)
        for field, share in enumerated(lambda known, s=slots: expected(compiled, s, known), FIELDS).items():
            assert found.get(field, 0.0) == pytest.approx(share, abs=1e-12)


def test_base_and_shares_add_up_to_the_probability():
    scorer, leads = CompiledScorer(random_forest(4, trees=10)), random_leads(500)
    explained = scorer.explain(leads)
    total = explained.base + explained.contributions.sum(axis=0)
    np.testing.assert_allclose(total, scorer.score(leads).probability, atol=1e-12)


def test_few_leads_and_many_have_the_same_shares():
    compiled = random_forest(5)
    scorer, leads = CompiledScorer(compiled), random_leads(MANY + 10)
    places = layout(compiled)
    mine = codes(scorer.encode(leads), np.arange(MANY + 10), places)
    groups = grouped(forest_paths(compiled, places))
    one_by_one = np.hstack([contributions(groups, mine[:, i : i + 1]) for i in range(MANY + 10)])
    np.testing.assert_allclose(contributions(groups, mine), one_by_one, atol=1e-13)


@pytest.mark.parametrize("rows", [5, MANY + 10])
def test_leaves_too_large_for_a_table_have_the_same_shares(rows):
    compiled = random_forest(6)
    places, leads = layout(compiled), random_leads(rows)
    mine, paths = codes(CompiledScorer(compiled).encode(leads), np.arange(rows), places), forest_paths(compiled, places)
    with_tables, without = contributions(grouped(paths), mine), contributions(grouped(paths, 0), mine)
    np.testing.assert_allclose(without, with_tables, atol=1e-13)


def test_fields_of_equal_part_have_equal_shares():
    found = by_field(CompiledScorer(both(0.5, 0.5)).explain(pa.table({"N0": [1.0], "N1": [1.0], "idle": [1.0]})))
    assert found["N0"] == pytest.approx(found["N1"])
    assert sum(found.values()) == pytest.approx(0.9 - 0.3)


def test_a_field_that_no_tree_asks_about_is_no_reason():
    leads = pa.table({"N0": [1.0], "N1": [1.0], "idle": [1.0]})
    assert "idle" not in CompiledScorer(both(0.5, 0.2)).explain(leads).fields


def test_a_branch_that_no_training_lead_took_still_adds_up():
    explained = CompiledScorer(both(1.0, 0.0)).explain(pa.table({"N0": [0.0], "N1": [1.0], "idle": [1.0]}))
    assert explained.base + explained.contributions.sum() == pytest.approx(0.1)


def test_boosted_trees_are_not_explained():
    compiled = both(0.5, 0.5)
    boosted = Compiled(compiled.description.model_copy(update={"link": "logistic"}), compiled.trees)
    with pytest.raises(CannotExplain, match="boosted trees"):
        _ = CompiledScorer(boosted).explainer


@pytest.mark.parametrize("calibration", [None, LINE, JUMP])
def test_points_add_up_to_the_score_less_the_base_score(calibration):
    shares = np.random.default_rng(0).normal(0, 0.1, (6, 500))
    moved = points(shares, 0.5, 0.5 + shares.sum(axis=0), calibration)
    ends = np.append(0.5 + shares.sum(axis=0), 0.5)
    served = ends if calibration is None else calibrated(ends, calibration)
    np.testing.assert_allclose(moved.sum(axis=0), 100 * (served[:-1] - served[-1]), atol=1e-9)


@pytest.mark.parametrize("calibration", [LINE, JUMP])
def test_a_field_that_raises_has_no_points_below_zero(calibration):
    shares = np.random.default_rng(1).normal(0, 0.1, (6, 500))
    moved = points(shares, 0.5, 0.5 + shares.sum(axis=0), calibration)
    assert (moved * np.sign(shares)).min() >= 0
    assert np.abs(moved).max() <= 100


def test_points_where_the_score_is_the_base_score_are_what_each_side_does():
    moved = points(np.array([[0.1], [-0.1]]), 0.4, np.array([0.4]), LINE)
    assert moved[:, 0].tolist() == pytest.approx([6.25, -6.25])


def test_points_of_an_uncalibrated_score_are_the_shares_in_percent():
    moved = points(np.array([[0.2], [-0.05]]), 0.3, np.array([0.45]), None)
    assert moved[:, 0].tolist() == pytest.approx([20.0, -5.0])


@pytest.mark.parametrize(
    ("field", "value", "moved", "text"),
    [
        ("Time", 1532.0, 18.2, "Time 1,532 s: +18 points"),
        ("Time", 2.504, 1.2, "Time 2.5 s: +1 point"),
        ("Time", 0.0, -12.5, "Time 0 s: -13 points"),
        ("Time", 100.0, 0.5, "Time 100 s: +1 point"),
        ("City", "Mumbai", 4.0, "City Mumbai: +4 points"),
        ("City", None, -3.0, "City not answered: -3 points"),
        ("Time", float("nan"), 3.0, "Time not answered: +3 points"),
        ("City", "x" * 70, 3.0, f"City {'x' * 57}...: +3 points"),
    ],
)
def test_a_reason_in_words(field, value, moved, text):
    assert told_reason(field, value, moved, {"Time": "s"})["text"] == text


def test_three_fields_a_side_are_named_most_first_and_small_ones_left_out():
    column = np.array([[5.0], [-0.4], [9.0], [1.0], [-7.0], [0.6], [-0.5], [0.3]])
    assert most(column) == [[2, 0, 3, 4, 6]]


def test_reasons_have_the_leads_own_values_in_the_order_of_the_batch():
    scorer = CompiledScorer(both(0.5, 0.2))
    leads = pa.table({"N0": [1.0, 0.0, None], "N1": [1.0, 1.0, 1.0], "idle": [1.0, 1.0, 1.0]})
    told = reasons(leads, scorer.explain(leads), {"N0": "h"}).to_pylist()
    assert [[r["text"] for r in lead] for lead in told] == [
        ["N0 1 h: +36 points", "N1 1: +12 points"],
        ["N1 1: +4 points", "N0 0 h: -36 points"],
        ["N0 not answered: +36 points", "N1 1: +12 points"],
    ]


def test_no_leads_have_no_reasons():
    none = pa.table({name: pa.array([], pa.float64()) for name in ("N0", "N1", "idle")})
    assert CompiledScorer(both(0.5, 0.2)).reasons(none).to_pylist() == []
