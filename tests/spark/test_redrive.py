"""Redrive: what the contract accepts now is replayed, once, under its own event id."""

import json
import re
from pathlib import Path

import pytest

from features.storage import Storage
from serving.dead_letters import DeadLetterFolder, DeadLetterSink
from serving.events import events
from serving.redrive import FolderTarget, OtherTarget, letters_of, redrive
from serving.sources import FileFormat, FileOptions, file_arrivals
from tests.leads import small_contract
from tests.scored import scored_rows

FAR = json.dumps({"LeadId": "far", "Visits": 5000, "City": "Pune"})


BEYOND = {"event_id": "E-far", "LeadId": "far", "raw": FAR, "reason": "Visits is outside its limits"}


def refused(spark, tmp_path, number, *rows):
    """The dead letters of a stream, with those of one more batch."""
    folder = str(tmp_path / "dead")
    DeadLetterSink(DeadLetterFolder(Storage(spark), folder, "q"), "q").write(scored_rows(spark, *rows), number)
    return letters_of(spark.read.parquet(folder))


@pytest.fixture
def letters(spark, tmp_path):
    """Two refused events: one beyond the contract's limits, one that is no JSON."""
    cut = {"event_id": "E-cut", "LeadId": None, "raw": '{"LeadId', "reason": "the event is not JSON"}
    return refused(spark, tmp_path, 0, BEYOND, cut)


@pytest.fixture
def mended():
    """The contract with a wider limit."""
    contract = small_contract()
    fields = tuple(f.model_copy(update={"limits": None}) if f.name == "Visits" else f for f in contract.fields)
    return contract.model_copy(update={"fields": fields})


@pytest.fixture(params=[FileFormat.PARQUET, FileFormat.JSON])
def target(request, spark, tmp_path):
    return FolderTarget(Storage(spark), str(tmp_path / "stream"), request.param)


def run(spark, letters, contract, target, tmp_path, **options):
    return redrive(letters, contract, target, Storage(spark), str(tmp_path / "ledger"), **options)


def replayed(spark, target, contract):
    if not Path(target.folder).exists():
        return []
    source = FileOptions(folder=target.folder, format=target.format)
    return events(file_arrivals(spark.read, source, contract), contract).collect()


def test_a_mended_event_reaches_the_stream_with_its_id_time_and_values(spark, letters, mended, target, tmp_path):
    found = run(spark, letters, mended, target, tmp_path)
    assert (found.found, found.replayed, found.refused) == (2, 1, {"the event is not JSON": 1})
    row = replayed(spark, target, mended)[0]
    assert (row.event_id, row.LeadId, row.Visits, row.City, row.reason) == ("E-far", "far", 5000.0, "Pune", None)
    assert row.event_time.isoformat() == "2026-03-04T12:00:00"


def test_a_second_redrive_replays_nothing(spark, letters, mended, target, tmp_path):
    run(spark, letters, mended, target, tmp_path)
    again = run(spark, letters, mended, target, tmp_path)
    assert (again.replayed, again.before) == (0, 1)
    assert len(replayed(spark, target, mended)) == 1


def test_an_event_whose_replay_was_refused_is_replayed_again(spark, letters, mended, target, tmp_path):
    run(spark, letters, mended, target, tmp_path)
    again = {**BEYOND, "origin": f"{target.folder}/redrive-1", "scored_at": "2026-03-04 13:00:00"}
    found = run(spark, refused(spark, tmp_path, 1, again), mended, target, tmp_path)
    assert (found.found, found.replayed, found.before) == (2, 1, 0)


def test_the_letter_of_a_repeated_batch_is_no_other(spark, letters, mended, target, tmp_path):
    run(spark, letters, mended, target, tmp_path)
    repeated = refused(spark, tmp_path, 0, {**BEYOND, "scored_at": "2026-03-04 13:00:00"})
    assert run(spark, repeated, mended, target, tmp_path).replayed == 0


def test_an_interrupted_redrive_is_not_finished_into_another_target(
    spark, letters, mended, target, tmp_path, monkeypatch
):
    def broken(self, leads, name, begun):
        raise OSError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(FolderTarget, "put", broken)
        with pytest.raises(OSError, match="plug"):
            run(spark, letters, mended, target, tmp_path)
    other = FolderTarget(target.storage, str(tmp_path / "other"), target.format)
    with pytest.raises(OtherTarget, match=f"target={re.escape(target.folder)}"):
        run(spark, letters, mended, other, tmp_path)
    assert replayed(spark, other, mended) == []


def test_without_a_fix_nothing_is_replayed(spark, letters, target, tmp_path):
    assert run(spark, letters, small_contract(), target, tmp_path).replayed == 0
    assert replayed(spark, target, small_contract()) == []


def test_a_dry_run_changes_nothing(spark, letters, mended, target, tmp_path):
    assert run(spark, letters, mended, target, tmp_path, dry_run=True).replayed == 1
    assert not (tmp_path / "ledger").exists()
    assert not Path(target.folder).exists()


@pytest.mark.parametrize("step", ["before the target", "after the target"])
def test_an_interrupted_redrive_is_finished_and_replays_once(
    spark, letters, mended, target, tmp_path, monkeypatch, step
):
    put = FolderTarget.put

    def broken(self, leads, name, begun):
        if step == "after the target":
            put(self, leads, name, begun)
        raise OSError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(FolderTarget, "put", broken)
        with pytest.raises(OSError, match="plug"):
            run(spark, letters, mended, target, tmp_path)
    assert run(spark, letters, mended, target, tmp_path).replayed == 0
    assert [r.event_id for r in replayed(spark, target, mended)] == ["E-far"]
