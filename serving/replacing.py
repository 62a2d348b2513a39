"""A folder that appears whole: written under a name of its own, then renamed into the place of what was there."""

import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from serving.errors import ServingError, one_line


class NotReplaced(ServingError):
    """A new folder could not take the place of an old one, nor the old one be put back."""


class Folders(Protocol):
    """A file system that renames folders; features.storage.Storage is one."""

    def exists(self, uri: str, /) -> bool:
        """Whether a file or folder is there."""

    def move(self, source: str, target: str, /) -> None:
        """Rename a folder; an error where the target is there."""

    def delete(self, uri: str, /) -> None:
        """Remove a folder and what it holds, if it is there."""


@contextmanager
def replacing(folders: Folders, target: str) -> Iterator[str]:
    """Give a folder to write into that takes the place of `target` when the block ends; an error leaves all as it was.

    It lies beside `target` as `.NAME.ID.part`, with an id of its own: of two that write to one target at a time each
    writes a whole one, and the last stays. What was there is renamed to `.NAME.ID.old` and deleted last. NotReplaced
    names where both lie when the renaming failed half-way.
    """
    parent, name = posixpath.split(target.rstrip("/"))
    own = posixpath.join(parent, f".{name}.{uuid.uuid4().hex[:8]}")
    staged, aside = f"{own}.part", f"{own}.old"
    try:
        yield staged
        _swap(folders, staged, target, aside)
    except NotReplaced:  # both are kept: neither is in its place
        raise
    except BaseException:
        folders.delete(staged)
        raise


def _swap(folders: Folders, staged: str, target: str, aside: str) -> None:
    there = folders.exists(target)
    if there:
        folders.move(target, aside)
    try:
        folders.move(staged, target)
    except BaseException as error:
        if there:
            _put_back(folders, staged, target, aside, error)
        raise
    if there:
        folders.delete(aside)


def _put_back(folders: Folders, staged: str, target: str, aside: str, cause: BaseException) -> None:
    try:
        folders.move(aside, target)
    except Exception:
        raise NotReplaced(
            f"{staged} could not be renamed to {target} ({one_line(cause)}); it is kept, and what was there "
            f"before is kept as {aside}. Rename one of them by hand."
        ) from cause
