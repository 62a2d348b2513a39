"""Files by URI: what is said of one that cannot be read, and how a small one is written."""

import json

import pytest
from py4j.protocol import Py4JJavaError

from features.storage import DamagedFile, MissingPath, Storage


def test_a_file_that_is_gone_is_a_missing_path(spark, tmp_path):
    with pytest.raises(MissingPath, match="does not exist"):
        Storage(spark).read(f"file:{tmp_path}/nowhere")


def test_a_file_that_is_not_what_its_checksum_says_is_damaged(spark, tmp_path):
    storage, uri = Storage(spark), f"file:{tmp_path}/told.json"
    storage.write_json(uri, {"said": 1})
    (tmp_path / "told.json").write_text('{"said": 2}')
    with pytest.raises(DamagedFile, match="is damaged"):
        storage.read(uri)


def test_a_writer_takes_nothing_from_another_that_writes_the_same_file(spark, tmp_path, monkeypatch):
    storage, uri = Storage(spark), f"file:{tmp_path}/told.json"
    dumps = json.dumps

    def another_writes_first(content, **options):
        if content == {"said": 1}:
            storage.write_json(uri, {"said": 2})
        return dumps(content, **options)

    monkeypatch.setattr("features.storage.json.dumps", another_writes_first)
    storage.write_json(uri, {"said": 1})
    assert storage.read_json(uri) == {"said": 1}


def test_a_file_that_cannot_be_written_leaves_no_part(spark, tmp_path):
    (tmp_path / "told.json" / "inside").mkdir(parents=True)
    with pytest.raises(Py4JJavaError):
        Storage(spark).write_json(f"file:{tmp_path}/told.json", {"said": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]
