"""A folder that takes the place of another: two writers at a time, and a rename that fails."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.compiled.places import Place
from serving.replacing import NotReplaced, replacing


@dataclass(frozen=True)
class Failing(Place):
    """A file system on which renames to these places fail."""

    refused: tuple[str, ...] = ()

    def move(self, source: str, target: str) -> None:
        if f"{source.rsplit('.', 1)[-1]} to {Path(target).name}" in self.refused:
            raise OSError("the store is away")
        super().move(source, target)


def write(folder: str, words: str) -> None:
    os.mkdir(folder)
    (Path(folder) / "said").write_text(words)


@pytest.fixture
def target(tmp_path):
    write(str(tmp_path / "scores"), "old")
    return tmp_path / "scores"


def replace(target: Path, words: str, *refused: str, writes: int = 1) -> None:
    place = Place.of(str(target))
    with replacing(Failing(place.files, place.path, refused), place.path) as staged:
        for _ in range(writes):  # the second one fails
            write(staged, words)


def left(target: Path) -> list[str]:
    return sorted(folder.name.split(".")[-1] for folder in target.parent.iterdir())


def test_what_is_written_takes_the_place_of_what_was_there(target):
    replace(target, "new")
    assert ((target / "said").read_text(), left(target)) == ("new", ["scores"])


def test_two_writers_to_one_place_do_not_mix(target):
    place = Place.of(str(target))
    with replacing(place, place.path) as mine:
        write(mine, "mine")
        replace(target, "yours")
        assert (target / "said").read_text() == "yours"
    assert ((target / "said").read_text(), left(target)) == ("mine", ["scores"])


def test_an_error_of_the_writer_leaves_what_was_there(target):
    with pytest.raises(FileExistsError):
        replace(target, "half", writes=2)
    assert ((target / "said").read_text(), left(target)) == ("old", ["scores"])


def test_what_was_there_is_put_back_when_the_new_cannot_take_its_place(target):
    with pytest.raises(OSError, match="the store is away"):
        replace(target, "new", "part to scores")
    assert ((target / "said").read_text(), left(target)) == ("old", ["scores"])


def test_both_are_kept_and_named_when_neither_can_be_put_there(target):
    with pytest.raises(NotReplaced, match=r"\.part could not be renamed.*kept as .*\.old"):
        replace(target, "new", "part to scores", "old to scores")
    assert left(target) == ["old", "part"]
