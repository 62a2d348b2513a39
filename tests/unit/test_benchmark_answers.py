"""benchmarks/answers.py: scores that were measured must be right, and of every lead once."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.answers import WrongAnswers, check_alike, check_events, check_scores, check_written
from benchmarks.online import Asked, answer_of
from serving.compiled.scorer import CompiledScorer
from tests.leads import small_contract
from tests.trees import by_hand


def test_scores_that_differ_in_the_seventh_place_are_right():
    check_scores("one", [0.5, 0.25], [0.5 + 1e-7, 0.25])


@pytest.mark.parametrize("wrong", [0.5001, math.nan])
def test_a_wrong_score_is_told(wrong):
    with pytest.raises(WrongAnswers, match="one: scores lie up to"):
        check_scores("one", [0.25, wrong], [0.25, 0.5])


def test_a_score_too_few_is_told():
    with pytest.raises(WrongAnswers, match="1 scores of 2 leads"):
        check_scores("one", [0.25], [0.25, 0.5])


def test_a_peer_whose_scores_do_not_go_up_with_ours_is_none():
    ours = np.arange(10.0)
    check_alike("peer", ours**1.5, ours)
    with pytest.raises(WrongAnswers, match="no peer"):
        check_alike("peer", ours[::-1], ours)


@pytest.fixture
def held(tmp_path):
    """Holds written scores, given as (id, probability), against those of three leads: a 0.4, b 0.2, c 0.2."""
    (tmp_path / "leads").mkdir()
    leads = {"LeadId": ["a", "b", "c"], "Seconds": [5.0, 0.1, 0.0], "City": ["Mumbai"] * 3}
    pq.write_table(pa.table(leads), tmp_path / "leads" / "0.parquet")
    (tmp_path / "scores").mkdir()

    def held(*rows: tuple[str, float]) -> None:
        ids, scores = zip(*rows, strict=True)
        written = pa.table({"LeadId": pa.array(ids), "probability": pa.array(scores, pa.float64())})
        pq.write_table(written, tmp_path / "scores" / "0.parquet")
        scorer = CompiledScorer(by_hand())
        check_written("ours", tmp_path / "scores", tmp_path / "leads", scorer, small_contract())

    return held


def test_written_scores_may_stand_in_any_order(held):
    held(("b", 0.2), ("c", 0.2), ("a", 0.4))


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 0.4), ("b", 0.2)],
        [("a", 0.4), ("b", 0.2), ("b", 0.2)],
        [("a", 0.4), ("b", 0.2), ("c", 0.2), ("c", 0.2)],
        [("a", 0.4), ("b", 0.2), ("c", None)],
        [("a", 0.4), ("b", 0.2), ("d", 0.2)],
    ],
    ids=["lost", "doubled and lost", "doubled", "no score", "another"],
)
def test_every_lead_is_written_once(held, rows):
    with pytest.raises(WrongAnswers, match="of 3 leads"):
        held(*rows)


def test_a_wrong_score_that_was_written_is_told(held):
    with pytest.raises(WrongAnswers, match=r"scores lie up to 0\.2"):
        held(("a", 0.2), ("b", 0.2), ("c", 0.2))


def test_a_lost_event_is_told_by_its_load():
    with pytest.raises(WrongAnswers, match=r"^real-time: 2 lost, 0 scored twice;"):
        check_events({"real-time": (2, 0), "micro-batch": (0, 0)})


def test_an_event_that_was_scored_twice_is_told():
    with pytest.raises(WrongAnswers, match="1 scored twice"):
        check_events({"real-time": (0, 1)})


def test_loads_that_kept_every_event_once_are_right():
    check_events({"real-time": (0, 0), "micro-batch": (0, 0)})


def test_answers_go_through_the_leads_in_turns():
    asked = Asked([{}, {}], [0.5, 0.25])
    asked.check("serve", [0.5, 0.25, 0.5])
    with pytest.raises(WrongAnswers, match="serve"):
        asked.check("serve", [0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    "reply",
    [{"probability": 0.25, "grade": "D"}, {"predictions": [{"probability": 0.25}]}, {"predictions": [0.25]}],
    ids=["serve", "compiled, MLflow", "Spark, MLflow"],
)
def test_every_servers_reply_holds_an_answer(reply):
    assert answer_of(reply) == 0.25
