"""Copies of models in the temporary folder: what killed processes have left goes."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.storage import Storage
from serving.model_copies import IN_USE, PREFIX, local_copy, remove_abandoned, shared_copy


def old(folder: Path) -> None:
    os.utime(folder, (time.time() - 3600,) * 2)


def test_what_killed_processes_left_of_models_goes_and_what_is_in_use_stays(spark, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, foreign = tmp_path / f"{PREFIX}left", tmp_path / "lead-scoring-other"
    for folder in (left, foreign):
        folder.mkdir()
        (folder / IN_USE).touch()
        old(folder)
    with local_copy() as used:
        old(Path(used))
        assert remove_abandoned(Storage(spark)) == [str(left)]
        assert Path(used).exists()
    assert [p.name for p in tmp_path.iterdir()] == [foreign.name]


def test_copies_for_executors_go_a_day_after_they_were_made(spark, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DFS_TMP", tmp_path.as_uri())
    made = Path(shared_copy().removeprefix("file://"))
    made.mkdir()
    (tmp_path / "other").mkdir()
    now = datetime.now(UTC)
    assert remove_abandoned(Storage(spark), now + timedelta(hours=23)) == []
    removed = remove_abandoned(Storage(spark), now + timedelta(hours=25))
    assert [Path(folder).name for folder in removed] == [made.name]
    assert [folder.name for folder in tmp_path.iterdir()] == ["other"]
