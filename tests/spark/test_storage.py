"""Files by URI: what is said of one that cannot be read."""

import pytest

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
