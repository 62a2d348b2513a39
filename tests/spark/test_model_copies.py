"""Copies of models in the temporary folder: what killed processes have left goes."""

import os
import time
from pathlib import Path

from features.storage import Storage
from serving.model_copies import IN_USE, PREFIX, local_copy, remove_abandoned


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
