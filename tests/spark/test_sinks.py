"""The lake and the dead letters: a folder per batch, the same when a batch is repeated."""

import datetime
import io
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from rich.console import Console

from features.storage import Storage
from serving.dead_letters import DEAD_LETTER_COLUMNS, DeadLetterFolder, DeadLetterSink
from serving.lake import STAGING, LakeSink
from serving.retries import Patience
from serving.sinks import ConsoleSink
from tests.scored import scored_rows

BAD = {"reason": "LeadId is missing", "raw": '{"Visits": 3}', "LeadId": None, "event_id": "bad"}


@pytest.fixture
def lake(spark, tmp_path):
    return LakeSink(Storage(spark), str(tmp_path / "lake"), "q1")


@pytest.fixture
def dead(spark, tmp_path):
    return DeadLetterSink(DeadLetterFolder(Storage(spark), str(tmp_path / "dead"), "q1"), "q1")


def test_what_a_killed_write_of_letters_left_behind_is_removed(spark, dead, tmp_path):
    for query in ("q1", "q2"):
        left = tmp_path / "dead" / STAGING / query / "refused-000003-0"
        left.mkdir(parents=True)
    dead.letters.clear_staging()
    assert [p.name for p in (tmp_path / "dead" / STAGING).iterdir()] == ["q2"]


def test_letters_are_staged_where_the_next_start_removes_them(spark, dead, tmp_path, monkeypatch):
    monkeypatch.setattr(Storage, "move", lambda self, source, target: None)
    monkeypatch.setattr(Storage, "delete", lambda self, path: None)
    dead.write(scored_rows(spark, BAD), 0)
    assert len(list((tmp_path / "dead" / STAGING / "q1").iterdir())) == 1


def in_lake(tmp_path):
    return ds.dataset(tmp_path / "lake", format="parquet", partitioning="hive").to_table().to_pylist()


def test_a_batch_lies_under_its_day_its_query_and_its_number(spark, lake, tmp_path):
    assert lake.write(scored_rows(spark, {}, {}, BAD), 12) == 2
    found = [p.parent.relative_to(tmp_path / "lake") for p in tmp_path.glob("lake/*/*/*/*.parquet")]
    assert found == [Path("batch_date=2026-03-04/query=q1/batch=000012")]


def test_the_newest_batch_of_a_query_is_told(spark, lake, tmp_path):
    assert lake.newest() is None
    for number in (8, 9, 10):
        lake.write(scored_rows(spark, {}), number)
    LakeSink(Storage(spark), str(tmp_path / "lake"), "q2").write(scored_rows(spark, {}), 99)
    assert lake.newest() == 10


def test_any_reader_finds_the_day_and_no_refused_event(spark, lake, tmp_path):
    lake.write(scored_rows(spark, {}, BAD), 0)
    rows = in_lake(tmp_path)
    assert [(r["event_id"], str(r["batch_date"])) for r in rows] == [("e-0", "2026-03-04")]
    assert not {"reason", "raw"} & set(rows[0])
    assert spark.read.parquet(str(tmp_path / "lake")).first().batch_date == datetime.date(2026, 3, 4)


def test_a_repeated_batch_replaces_itself(spark, lake, tmp_path):
    lake.write(scored_rows(spark, {}, {}), 3)
    lake.write(scored_rows(spark, {"model_version": 2}, {"model_version": 2}), 3)
    assert [r["model_version"] for r in in_lake(tmp_path)] == [2, 2]


def test_a_repeated_batch_whose_events_are_all_refused_now_leaves_none_of_before(spark, lake, tmp_path):
    lake.write(scored_rows(spark, {}, {}), 3)
    assert lake.write(scored_rows(spark, BAD, BAD), 3) == 0
    assert list((tmp_path / "lake").glob("batch_date=*/query=*/batch=*")) == []


def test_a_batch_without_scores_leaves_no_folder(spark, lake, tmp_path):
    assert lake.write(scored_rows(spark, BAD), 0) == 0
    assert list((tmp_path / "lake").glob("batch_date=*")) == []
    assert list((tmp_path / "lake").glob("_staging/*")) == []


def test_a_dead_letter_says_what_came_from_where_and_why(spark, dead, tmp_path):
    assert dead.write(scored_rows(spark, {}, BAD), 5) == 1
    letters = spark.read.parquet(str(tmp_path / "dead")).collect()
    assert set(DEAD_LETTER_COLUMNS) < set(letters[0].asDict())
    told = letters[0].asDict()
    assert {k: told[k] for k in ("event_id", "origin", "raw", "reason", "query", "kind", "batch")} == {
        "event_id": "bad",
        "origin": "leads/0/1",
        "raw": '{"Visits": 3}',
        "reason": "LeadId is missing",
        "query": "q1",
        "kind": "refused",
        "batch": 5,
    }


def test_dead_letters_of_a_repeated_batch_are_there_once(spark, dead, tmp_path):
    for _ in range(2):
        dead.write(scored_rows(spark, {}, BAD), 5)
    assert spark.read.parquet(str(tmp_path / "dead")).count() == 1


def test_a_batch_whose_repeat_has_no_dead_letters_keeps_none(spark, dead, tmp_path):
    dead.write(scored_rows(spark, BAD), 5)
    assert dead.write(scored_rows(spark, {}), 5) == 0
    assert list(tmp_path.glob("dead/kind=refused/query=q1/*")) == []


def test_patience_ends_by_raising_what_it_saw_last():
    tries = []

    def fail():
        tries.append(1)
        raise OSError(f"try {len(tries)}")

    with pytest.raises(OSError, match="try"):
        Patience(first=0.01, longest=0.02, total=0.2).retrying(lambda e: isinstance(e, OSError))(fail)
    assert len(tries) > 1


@pytest.mark.parametrize("word", ["[/x]", "[red]", "<script>", "'); DROP TABLE", "St. Mary"])
def test_the_console_shows_a_leads_words_as_they_are(spark, word):
    console = Console(file=io.StringIO(), width=400)
    ConsoleSink(console).write(scored_rows(spark, {"LeadId": word}), 0)
    assert f"│ {word} " in console.file.getvalue()


def test_the_console_leaves_out_what_steers_a_terminal(spark):
    console = Console(file=io.StringIO(), width=400)
    ConsoleSink(console).write(scored_rows(spark, {"LeadId": "a\x1b[2Jb"}), 0)
    assert "│ a[2Jb " in console.file.getvalue()


class Gone(io.StringIO):
    """What nobody reads any more."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_a_console_that_is_gone_ends_nothing(spark, error, monkeypatch, caplog):
    monkeypatch.setattr(Console, "on_broken_pipe", lambda console: sys.exit(1))  # rich's own closes our stdout too
    assert ConsoleSink(Console(file=Gone(error), width=400)).write(scored_rows(spark, {}), 7) == 1
    assert "batch 7 is not shown" in caplog.text
