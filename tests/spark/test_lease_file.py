"""The lease of a checkpoint that lies on no disk of one machine: a file beside it."""

import itertools
import time
from pathlib import Path

import pytest

from features.storage import DamagedFile, MissingPath, Storage
from serving.runtime.lease import LEASE, CheckpointInUse, LeaseFile, LeaseLost


def folder_uri(tmp_path: Path) -> str:
    return f"file:{tmp_path}/checkpoint"


def test_a_lease_file_is_refused_to_a_second_scorer_while_the_first_one_lives(spark, tmp_path):
    storage, place = Storage(spark), folder_uri(tmp_path)
    with LeaseFile(storage, place, expiry=3), pytest.raises(CheckpointInUse, match="in use by process"):
        LeaseFile(storage, place, expiry=3).__enter__()


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_beat_that_takes_the_file_away_for_a_moment_does_not_give_the_lease_away(spark, tmp_path, monkeypatch, look):
    storage, place, looks = Storage(spark), folder_uri(tmp_path), itertools.count(1)
    with LeaseFile(storage, place, expiry=3) as living:
        newcomer, read = Storage(spark), storage.read_json

        def absent_at_one_look(uri):
            if next(looks) == look:
                raise MissingPath(uri)
            return read(uri)

        monkeypatch.setattr(newcomer, "read_json", absent_at_one_look)
        with pytest.raises(CheckpointInUse, match="in use by process"):
            LeaseFile(newcomer, place, expiry=3).__enter__()
        assert next(looks) > look
        living.check()


def test_a_look_that_finds_half_a_beat_names_the_holder_all_the_same(spark, tmp_path, monkeypatch):
    storage, place, looks = Storage(spark), folder_uri(tmp_path), itertools.count(1)
    with LeaseFile(storage, place, expiry=3):
        newcomer, read = Storage(spark), storage.read_json

        def half_at_the_second_look(uri):
            if next(looks) == 2:
                raise ValueError("half a file")
            return read(uri)

        monkeypatch.setattr(newcomer, "read_json", half_at_the_second_look)
        with pytest.raises(CheckpointInUse, match="in use by process"):
            LeaseFile(newcomer, place, expiry=3).__enter__()


def test_a_lease_whose_holder_died_is_taken_over_and_the_holder_finds_out(spark, tmp_path):
    storage, place = Storage(spark), folder_uri(tmp_path)
    dead = LeaseFile(storage, place, expiry=2)
    dead.__enter__()
    dead._ending.set()  # its heart stops, as a killed or a frozen process's does
    with LeaseFile(storage, place, expiry=2) as living:
        living.check()
        with pytest.raises(LeaseLost):
            dead.check()


def test_a_holder_whose_place_was_taken_stops_writing_to_the_lease(spark, tmp_path):
    storage, place = Storage(spark), folder_uri(tmp_path)
    with LeaseFile(storage, place, expiry=1) as first:
        storage.write_json(f"{place}/{LEASE}", {"id": "another", "beat": 1, "holder": "process 1 on elsewhere"})
        first._heart.join(30)
        with pytest.raises(LeaseLost, match="process 1 on elsewhere"):
            first.check()
    assert storage.read_json(f"{place}/{LEASE}")["id"] == "another"


def test_a_lease_that_was_given_back_is_free_at_once(spark, tmp_path):
    storage, place = Storage(spark), folder_uri(tmp_path)
    with LeaseFile(storage, place, expiry=30):
        pass
    assert not storage.exists(f"{place}/{LEASE}")


def test_a_lease_that_cannot_be_renewed_is_lost_after_its_expiry(spark, tmp_path, monkeypatch):
    storage = Storage(spark)
    with LeaseFile(storage, folder_uri(tmp_path), expiry=1) as held:
        monkeypatch.setattr(Storage, "write_json", lambda *_: (_ for _ in ()).throw(OSError("storage is away")))
        time.sleep(1.1)
        with pytest.raises(LeaseLost, match="could not be renewed"):
            held.check()


@pytest.mark.parametrize("moment", [MissingPath("gone"), DamagedFile("half replaced")])
def test_a_holder_that_reads_in_the_moment_of_a_replacement_keeps_the_lease(spark, tmp_path, monkeypatch, moment):
    storage, beats = Storage(spark), []
    write = storage.write_json

    def counted(uri, content):
        write(uri, content)
        beats.append(content["beat"])

    with LeaseFile(storage, folder_uri(tmp_path), expiry=1) as held:
        monkeypatch.setattr(storage, "read_json", lambda _: (_ for _ in ()).throw(moment))
        monkeypatch.setattr(storage, "write_json", counted)
        time.sleep(1.5)
        held.check()
        assert len(beats) > 1
    assert beats == sorted(set(beats))
