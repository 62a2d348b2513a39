"""benchmarks/answers.py: scores that were measured must be right, and of every lead once."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.answers import WrongAnswers, check_alike, check_events, check_scores, check_written
from benchmarks.kafka_load import Received, filled
from benchmarks.online import Asked, answer_of
from benchmarks.stream import template_scores
from benchmarks.stream_tables import STEADY, lost_and_doubled, stream_tables
from benchmarks.summary import COMPARISONS, FILES, SESSIONS
from benchmarks.targets import target_rows
from benchmarks.workplace import Workplace
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

    def held(*rows: tuple[str, float]) -> list[str]:
        ids, scores = zip(*rows, strict=True)
        written = pa.table({"LeadId": pa.array(ids), "probability": pa.array(scores, pa.float64())})
        pq.write_table(written, tmp_path / "scores" / "0.parquet")
        scorer = CompiledScorer(by_hand())
        check_written("ours", tmp_path / "scores", tmp_path / "leads", scorer, small_contract())
        return written["LeadId"].to_pylist()

    return held


def test_written_scores_may_stand_in_any_order(held):
    assert held(("b", 0.2), ("c", 0.2), ("a", 0.4)) == ["b", "c", "a"]  # it raises where one is wrong


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


def load(lost: int = 0, doubled: int = 0) -> Received:
    """A load of 100 events, of which some were lost or came twice."""
    count, at = 100 - lost, np.arange(100 - lost)
    return Received(100, count, lost, doubled, 0, frozenset({"1"}), at.astype(float), np.arange(100), at)


def counted(steady: Received, fast: Received, reload: Received) -> dict[str, tuple[int, int]]:
    files, whole = {"what": "files", "lost": 0, "doubled": 0}, load()
    loads = {"relay": load(lost=7), "micro-batch": whole, "real-time": steady}
    return lost_and_doubled(files, loads, {"real-time": {8000: fast}}, {"micro-batch": reload})


@pytest.mark.parametrize(
    ("loads", "told"),
    [
        ((load(lost=1), load(), load()), "^real-time, 1,000/s: 1 lost"),
        ((load(), load(doubled=2), load()), "^rates, real-time, 8,000/s: 0 lost, 2 scored twice"),
        ((load(), load(), load(lost=3)), "^micro-batch, promotion: 3 lost"),
    ],
    ids=["steady", "too fast", "promotion"],
)
def test_the_stream_may_lose_and_double_no_event_under_any_load(loads, told):
    with pytest.raises(WrongAnswers, match=told):
        check_events(counted(*loads))


def test_what_is_late_at_too_high_a_rate_and_what_the_relay_loses_is_no_fault_of_the_stream():
    check_events(counted(load(), load(lost=50), load()))


def test_a_template_is_scored_with_what_it_leaves_out_unanswered():
    assert template_scores(['{"event_id": "ID", "City": "Pune"}', '{"Seconds": 0.1}'], CompiledScorer(by_hand())) == [
        0.9,
        0.2,
    ]


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


@pytest.fixture
def tables_of_the_stream() -> dict[str, list[dict[str, object]]]:
    """The rows of a run of the stream's benchmark, by title."""
    files = [{"what": name, "p50": 100.0, "p99": 200.0} for name in (*SESSIONS, FILES)]
    by_mode = {mode: load() for mode in STEADY}
    rates = {mode: {1000: load(), 2000: load(lost=1)} for mode in STEADY}
    place = Workplace(Path("unused"), "sample leads")
    found = stream_tables(place, files, {"relay": load(), **by_mode}, rates, by_mode)
    return {table.title: list(table.rows) for table in found}


def test_a_run_of_the_stream_measures_each_of_its_targets(tables_of_the_stream):
    assert [row["target"] for row in target_rows("stream", tables_of_the_stream) if row["held"] == ""] == []


@pytest.mark.parametrize("each", [c for c in COMPARISONS if c.part == "stream"], ids=lambda c: c.peer)
def test_a_run_of_the_stream_is_compared_with_each_of_its_peers(each, tables_of_the_stream):
    assert each.row(tables_of_the_stream)["times better"] > 0


def test_the_highest_rate_kept_is_one_at_which_nothing_was_lost(tables_of_the_stream):
    rows = tables_of_the_stream["Highest rate without growing lag (loads of 30 s)"]
    assert [(row["highest rate kept (events/s)"], row["tried"]) for row in rows] == [(1000, "1,000, 2,000")] * 2


def test_a_template_keeps_its_keys_whatever_letters_they_hold():
    assert (
        filled('{"ProspectID": "ID", "event_id": "ID"}', "load-7") == '{"ProspectID": "load-7", "event_id": "load-7"}'
    )
