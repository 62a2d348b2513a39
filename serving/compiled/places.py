"""Folders by URI for scoring without Spark, through Arrow's file systems."""

import os
import posixpath
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs

from serving.errors import ServingError

# Arrow's names of the file systems that rename a folder; on object stores it renames none.
RENAMING = ("local", "hdfs")


class BadDataset(ServingError):
    """The leads to score cannot be read as Parquet files, or are not there."""


@dataclass(frozen=True)
class Place:
    """A folder by URI or local path, opened by Arrow's file systems (file:, s3:, gs:, abfs:, hdfs:)."""

    files: pafs.FileSystem
    path: str

    @classmethod
    def of(cls, uri: str) -> "Place":
        """Open a URI; BadDataset where Arrow has no file system for it."""
        try:
            # Spark writes s3a: where Arrow writes s3:, and file:/ where Arrow writes file:///.
            said = uri.replace("s3a://", "s3://", 1)
            said = f"file://{said.removeprefix('file:')}" if said.startswith("file:/") and said[6:7] != "/" else said
            return cls(*(pafs.FileSystem.from_uri(said) if "://" in said else (pafs.LocalFileSystem(), said)))
        except (pa.ArrowInvalid, OSError, ValueError) as error:
            raise BadDataset(f"{uri} cannot be opened without Spark ({error}); score with engine=compiled.") from None

    @classmethod
    def of_output(cls, uri: str) -> "Place":
        """Open a URI to write to; BadDataset where its file system cannot rename the folder when it is whole."""
        place = cls.of(uri.rstrip("/"))
        if place.files.type_name not in RENAMING:
            raise BadDataset(
                f"{uri} lies on an object store, where Arrow renames no folder, so that scores could not appear whole; "
                "score with engine=compiled, or name an output on a disk or on hdfs:."
            )
        return place

    def lies_in(self, other: "Place") -> bool:
        """Whether this folder is another one, or within it, however either is spelt."""
        inner, outer = (
            os.path.realpath(each.path) if each.files.type_name == "local" else posixpath.normpath(each.path)
            for each in (self, other)
        )
        return bool(self.files.equals(other.files)) and posixpath.join(inner, "").startswith(posixpath.join(outer, ""))

    def exists(self, path: str) -> bool:
        """Whether a file or folder of this file system is there."""
        return self.files.get_file_info(path).type is not pafs.FileType.NotFound

    def move(self, source: str, target: str) -> None:
        """Rename a folder; BadDataset where the target is there."""
        if self.exists(target):  # hdfs: would move the folder into it
            raise BadDataset(f"{source} could not be moved to {target}, which is there already.")
        self.files.move(source, target)

    def delete(self, path: str) -> None:
        """Remove a folder and what it holds, if it is there."""
        if self.files.get_file_info(path).type is pafs.FileType.Directory:
            self.files.delete_dir(path)

    def entries(self) -> list[pafs.FileInfo]:
        """What the folder holds; nothing where it is not there. BadDataset where the path is that of a file."""
        if self.files.get_file_info(self.path).is_file:
            raise BadDataset(f"{self.path} is a file; name a folder (of leads: the one that the file lies in).")
        return list(self.files.get_file_info(pafs.FileSelector(self.path, allow_not_found=True)))


def full_uri(uri: str) -> str:
    """A local path from the root; any other URI as it is."""
    return uri if ":/" in uri else posixpath.abspath(uri)
