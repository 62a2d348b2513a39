"""Whose a folder is: a query starts only on a source, an output and a checkpoint that belong together."""

import shutil
from pathlib import Path

import pytest

from features.storage import Storage
from serving.ownership import MARKER, Entangled, NotOurs, OlderCheckpoint, OtherQuery, Places, bind, refuse_older


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(*(f"file:{tmp_path}/{name}" for name in ("source", "output", "checkpoint")))


def begin(places: Places) -> None:
    """What Spark writes first, when a query starts."""
    (path_of(places.checkpoint) / "sources" / "0").mkdir(parents=True)


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file:"))


def test_the_same_places_make_the_same_query_again(spark, places):
    assert bind(Storage(spark), places, "m") == bind(Storage(spark), places, "m")


def test_a_checkpoint_is_refused_to_a_topic_that_was_made_anew(spark, places):
    bind(Storage(spark), places, "m", topics={"leads": "id-1", "more": "id-0"})
    # No query has begun to read.
    query = bind(Storage(spark), places, "m", topics={"leads": "id-1", "more": "id-2"})
    begin(places)
    assert bind(Storage(spark), places, "m", topics={"leads": "id-1", "more": "id-2"}) == query
    with pytest.raises(OtherQuery, match=r"has read another topic more: .*LEADS_KAFKA"):
        bind(Storage(spark), places, "m", topics={"leads": "id-1", "more": "id-3"})


def test_a_checkpoint_that_knows_no_topics_learns_them(spark, places):
    query = bind(Storage(spark), places, "m")
    begin(places)
    assert bind(Storage(spark), places, "m", topics={"leads": "id-1"}) == query
    with pytest.raises(OtherQuery, match="leads"):
        bind(Storage(spark), places, "m", topics={"leads": "id-2"})
    # Kafka may not tell them at another time.
    assert bind(Storage(spark), places, "m") == query


def test_a_full_output_folder_without_our_marker_is_not_written_to(spark, places):
    path_of(places.output).mkdir()
    (path_of(places.output) / "precious.txt").write_text("mine")
    with pytest.raises(NotOurs, match="was not written here"):
        bind(Storage(spark), places, "m")
    assert not path_of(places.checkpoint).exists()


def test_a_full_checkpoint_folder_without_our_marker_is_not_used(spark, places):
    (path_of(places.checkpoint) / "offsets").mkdir(parents=True)
    with pytest.raises(NotOurs, match="was not written here"):
        bind(Storage(spark), places, "m")


def test_a_lost_checkpoint_is_not_made_anew_for_an_output_with_scores(spark, places):
    bind(Storage(spark), places, "m")
    shutil.rmtree(path_of(places.checkpoint))
    with pytest.raises(OtherQuery, match=r"is gone; a new one would score every lead again\. Name a new output"):
        bind(Storage(spark), places, "m")


def test_an_output_is_refused_to_a_second_checkpoint(spark, places):
    bind(Storage(spark), places, "m")
    second = Places(places.source, places.output, f"{places.checkpoint}-2")
    with pytest.raises(OtherQuery, match="is written by the query with the checkpoint"):
        bind(Storage(spark), second, "m")


def test_a_checkpoint_copied_over_another_querys_is_found_out(spark, places):
    bind(Storage(spark), places, "m")
    marker = path_of(places.checkpoint) / MARKER
    marker.with_name(f".{MARKER}.crc").unlink(missing_ok=True)
    marker.write_text(marker.read_text().replace('"id": "', '"id": "0'))
    with pytest.raises(OtherQuery, match="a checkpoint of another query"):
        bind(Storage(spark), places, "m")


@pytest.mark.parametrize("changed", ["source", "output"])
def test_a_checkpoint_is_refused_to_another_source_or_output(spark, places, changed):
    bind(Storage(spark), places, "m")
    other = Places(**{**vars(places), changed: f"{getattr(places, changed)}-2"})
    with pytest.raises(OtherQuery, match=f"its {changed} is"):
        bind(Storage(spark), other, "m")


@pytest.mark.parametrize("holder", ["source", "output", "checkpoint"])
def test_dead_letters_within_another_folder_are_refused(spark, places, holder):
    inside = f"{getattr(places, holder)}/dead"
    with pytest.raises(Entangled, match=f"the dead_letters .* lies in the {holder}"):
        bind(Storage(spark), places, "m", inside)


def planned(places: Places, *batches: int) -> str:
    """The checkpoint, with these batches planned in it."""
    folder = path_of(places.checkpoint) / "offsets"
    folder.mkdir(parents=True)
    for number in batches:
        (folder / str(number)).write_text("v1\n{}")
    return places.checkpoint


@pytest.mark.parametrize("written", [None, 9, 10])
def test_a_checkpoint_that_knows_every_batch_written_is_used(spark, places, written):
    checkpoint = planned(places, 8, 9, 10)
    assert refuse_older(Storage(spark), checkpoint, written, "the lake") is None  # it raises where it must not be used


def test_a_checkpoint_older_than_what_its_query_wrote_is_refused(spark, places):
    checkpoint = planned(places, 9, 10)
    with pytest.raises(OlderCheckpoint, match=r"ends with batch 10, and batch 11 of its query is in the lake"):
        refuse_older(Storage(spark), checkpoint, 11, "the lake")


def test_scores_that_vanished_under_a_checkpoint_are_reported(spark, places):
    bind(Storage(spark), places, "m")
    shutil.rmtree(path_of(places.output))
    (path_of(places.checkpoint) / "commits").mkdir()
    (path_of(places.checkpoint) / "commits" / "0").write_text("v1\n{}")
    with pytest.raises(OtherQuery, match="are gone from"):
        bind(Storage(spark), places, "m")


def test_a_kill_between_the_two_markers_is_mended(spark, places):
    bind(Storage(spark), places, "m")
    shutil.rmtree(path_of(places.output))
    bind(Storage(spark), places, "m")
    assert (path_of(places.output) / MARKER).exists()


def test_an_output_inside_the_source_is_refused(spark, places):
    with pytest.raises(Entangled, match=r"the output .* lies in the source"):
        bind(Storage(spark), Places(places.source, f"{places.source}/scores", places.checkpoint), "m")
