"""Files by URI through Hadoop's FileSystem, so that file:, s3a:, hdfs: and dbfs: all behave the same."""

import json
import posixpath
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from features.errors import FeaturesError

_NO_ROOM = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system|\w*QuotaExceeded\w*"
)


class MissingPath(FeaturesError):
    """A path that must exist does not."""


class DamagedFile(FeaturesError):
    """A file is not what its checksum says."""


class NoRoom(FeaturesError):
    """A file system is full, or takes no more for another reason."""


def no_room(error: BaseException) -> str:
    """What a failure of Spark or Java says of a disk that takes no more; empty where that is not its cause."""
    # The cause stands below a tower of others: in the text of Py4J's own errors, beside that of PySpark's.
    found = _NO_ROOM.search(f"{error}\n{getattr(error, '_stackTrace', '')}")
    return found[0] if found else ""


@dataclass(frozen=True)
class Entry:
    """One file or folder of a listing: its full URI, size in bytes (0 for a folder) and kind."""

    uri: str
    size: int
    is_folder: bool

    @property
    def name(self) -> str:
        """The last part of the URI."""
        return self.uri.rstrip("/").rsplit("/", 1)[-1]


def join(uri: str, *parts: str) -> str:
    """Append path parts to a URI."""
    return posixpath.join(uri, *parts)


def java_class(spark: SparkSession, name: str) -> Any:
    """A Java class by its full name."""
    return getattr(spark._jvm, name)


class Storage:
    """File operations on URIs; a path without a scheme belongs to the session's default file system."""

    def __init__(self, spark: SparkSession) -> None:
        # Each is looked up once: Java searches all jars for every part of a dotted name.
        self._new_path: Any = java_class(spark, "org.apache.hadoop.fs.Path")
        self._file_system: Any = java_class(spark, "org.apache.hadoop.fs.FileSystem")
        self._file_context: Any = java_class(spark, "org.apache.hadoop.fs.FileContext")
        self._rename: Any = java_class(spark, "org.apache.hadoop.fs.Options$Rename")
        self._gateway: Any = spark.sparkContext._gateway
        self._conf: Any = spark._jsparkSession.sessionState().newHadoopConf()

    def is_local_default(self) -> bool:
        """Whether a path without a scheme lies on each machine's own disk (or a folder that they all mount)."""
        return str(self._file_system.getDefaultUri(self._conf).getScheme()) == "file"

    def exists(self, uri: str) -> bool:
        """Whether a file or folder is there."""
        fs, path = self._open(uri)
        return bool(fs.exists(path))

    def is_folder(self, uri: str) -> bool:
        """Whether a folder is there."""
        fs, path = self._open(uri)
        return bool(fs.exists(path)) and bool(fs.getFileStatus(path).isDirectory())

    def size(self, uri: str) -> int:
        """Bytes of a file."""
        fs, path = self._open(uri)
        return int(fs.getFileStatus(path).getLen())

    def list(self, uri: str) -> list[Entry]:
        """What a folder, file or glob pattern holds, sorted by URI; empty where nothing matches.

        Names that begin with `_` or `.` are left out, as Spark leaves them out when it reads.
        """
        fs, path = self._open(uri)
        matches = fs.globStatus(path) or []
        found = []
        for match in matches:
            found += list(fs.listStatus(match.getPath())) if match.isDirectory() else [match]
        entries = [Entry(s.getPath().toString(), int(s.getLen()), bool(s.isDirectory())) for s in found]
        return sorted((e for e in entries if not e.name.startswith(("_", "."))), key=lambda e: e.uri)

    def read_head(self, uri: str, limit: int) -> bytes:
        """The first `limit` bytes of a file (fewer where it is shorter); MissingPath where it is not there."""
        fs, path = self._open(uri)
        if not fs.exists(path):
            raise MissingPath(f"{uri} does not exist; check the path.")
        stream = fs.open(path)
        try:
            return bytes(stream.readNBytes(limit))
        finally:
            stream.close()

    def read(self, uri: str) -> bytes:
        """A whole file, which must fit into memory.

        MissingPath where it is not there, also if it has just gone; DamagedFile where it is not what its checksum says.
        """
        fs, path = self._open(uri)
        try:
            stream = fs.open(path)
            try:
                return bytes(stream.readAllBytes())
            finally:
                stream.close()
        except Py4JJavaError as error:
            kind = error.java_exception.getClass().getName()
            if kind == "java.io.FileNotFoundException":
                raise MissingPath(f"{uri} does not exist; check the path.") from None
            if kind == "org.apache.hadoop.fs.ChecksumException":
                raise DamagedFile(f"{uri} is damaged: it is not what its checksum says. Restore it.") from None
            raise

    def read_json(self, uri: str) -> dict[str, Any]:
        """A small JSON file as a dictionary."""
        return cast("dict[str, Any]", json.loads(self.read(uri).decode("utf-8")))

    def located(self, uri: str) -> tuple[Any, Any]:
        """Hadoop's Path of a URI, and its Configuration."""
        return self._path(uri), self._conf

    def write_json(self, uri: str, content: dict[str, Any]) -> None:
        """Write a small JSON file: whole or not at all (a temporary file, then a rename); NoRoom on a full disk."""
        try:
            self._write_json(uri, content)
        except Py4JJavaError as error:
            fault = no_room(error)
            if not fault:
                raise
            raise NoRoom(f"{uri} could not be written: {fault}. Make room there, or name another place.") from None

    def put(self, local: Path, uri: str) -> None:
        """Copy a file of this machine to a URI, over what was there."""
        fs, path = self._open(uri)
        fs.copyFromLocalFile(False, True, self._path(local.resolve().as_uri()), path)

    def delete(self, uri: str) -> None:
        """Remove a file or a whole folder; nothing happens where there is none."""
        fs, path = self._open(uri)
        fs.delete(path, True)

    def move(self, source: str, target: str) -> None:
        """Rename a file or folder; the target must not exist, its parent is made."""
        fs, path = self._open(source)
        goal = self._path(target)
        fs.mkdirs(goal.getParent())
        if fs.exists(goal) or not fs.rename(path, goal):
            raise FeaturesError(f"{source} could not be moved to {target}; check that it is free and writable.")

    def _write_json(self, uri: str, content: dict[str, Any]) -> None:
        fs, path = self._open(uri)
        # Of a name of its own: of two processes that write the same file, neither renames what the other is writing.
        name = f"._{posixpath.basename(uri)}.{uuid.uuid4().hex}.part"
        part = self._path(posixpath.join(posixpath.dirname(uri), name))
        modes = self._gateway.new_array(self._rename, 1)
        modes[0] = self._rename.OVERWRITE
        try:
            stream = fs.create(part, True)
            try:
                stream.write(bytearray(json.dumps(content, indent=2, sort_keys=True).encode("utf-8")))
            finally:
                stream.close()
            self._file_context.getFileContext(fs.getUri(), self._conf).rename(
                fs.makeQualified(part), fs.makeQualified(path), modes
            )
        except Py4JJavaError:
            with suppress(Py4JJavaError):  # the first failure is the one to tell
                fs.delete(part, False)
            raise

    def _path(self, uri: str) -> Any:
        return self._new_path(uri)

    def _open(self, uri: str) -> tuple[Any, Any]:
        path = self._path(uri)
        return path.getFileSystem(self._conf), path
