"""Prepared data is replaced whole: a kill at any point leaves the old or the new, never a mixture."""

import pytest

from features.storage import Storage, join
from pipelines.datasets import MANIFEST, Staging, read_manifest
from pipelines.prepare import default_csv
from pipelines.settings import Settings

PARTS = ("prepared/train", "prepared/test", "stream", "quarantine")


class Killed(Exception):
    """Stands for a process that ends here."""


class DyingStorage(Storage):
    """Storage whose process ends at its n-th change."""

    def __init__(self, spark, lives):
        super().__init__(spark)
        self.lives = lives

    def _spend(self):
        if self.lives == 0:
            raise Killed
        self.lives -= 1

    def move(self, source, target):
        self._spend()
        super().move(source, target)

    def delete(self, uri):
        self._spend()
        super().delete(uri)

    def write_json(self, uri, content):
        self._spend()
        super().write_json(uri, content)


@pytest.fixture
def settings(tmp_path):
    return Settings(data=str(tmp_path / "data"))


def stage(spark, settings, word):
    staging, storage = Staging(settings), Storage(spark)
    staging.begin(storage)
    for part in PARTS:
        storage.write_json(staging.part(*part.split("/"), "rows.json"), {"of": word})
    return staging


def contents(spark, settings):
    storage = Storage(spark)
    places = [join(settings.data, part, "rows.json") for part in PARTS]
    return {storage.read_json(place)["of"] for place in places if storage.exists(place)}


def test_committed_data_is_all_new(spark, settings):
    stage(spark, settings, "old").commit(Storage(spark), {"of": "old"})
    stage(spark, settings, "new").commit(Storage(spark), {"of": "new"})
    assert contents(spark, settings) == {"new"}


def test_a_kill_before_the_commit_leaves_the_old_data(spark, settings):
    stage(spark, settings, "old").commit(Storage(spark), {"of": "old"})
    stage(spark, settings, "new")
    assert (read_manifest(spark, settings), contents(spark, settings)) == ({"of": "old"}, {"old"})


# A swap makes nine changes after the commit's own: one delete of the manifest, two for each of three
# parts, the new manifest, the end of the staging folder.
@pytest.mark.parametrize("changes", range(1, 10))
def test_a_kill_during_the_swap_is_rolled_forward_by_the_next_reader(spark, settings, changes):
    stage(spark, settings, "old").commit(Storage(spark), {"of": "old"})
    staging = stage(spark, settings, "new")
    with pytest.raises(Killed):
        staging.commit(DyingStorage(spark, changes), {"of": "new"})
    assert (read_manifest(spark, settings), contents(spark, settings)) == ({"of": "new"}, {"new"})


def test_leftovers_of_an_interrupted_prepare_do_not_enter_the_next(spark, settings):
    staging = stage(spark, settings, "dead")
    stage(spark, settings, "new").commit(Storage(spark), {"of": "new"})
    assert contents(spark, settings) == {"new"}
    assert not Storage(spark).exists(staging.root)


def test_a_json_file_is_replaced_whole(spark, tmp_path):
    storage, place = Storage(spark), str(tmp_path / MANIFEST)
    storage.write_json(place, {"a": 1})
    storage.write_json(place, {"b": 2})
    assert storage.read_json(place) == {"b": 2}
    assert [e.name for e in storage.list(str(tmp_path))] == [MANIFEST]


def test_the_sample_is_put_where_a_data_uri_points(spark, tmp_path):
    uri = default_csv(spark, Settings(data=tmp_path.as_uri()), seed=1)
    assert uri == f"{tmp_path.as_uri()}/raw/sample_leads.csv"
    assert (tmp_path / "raw" / "sample_leads.csv").stat().st_size > 0
