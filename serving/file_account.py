"""Files of a micro-batch that gave less than they hold: reading passes over what it cannot read, this names it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from features.contract import Contract
from features.csv_rows import literal
from features.storage import Storage, java_class, join
from serving.errors import ServingError
from serving.events import event_schema
from serving.sources import FileFormat, FileOptions
from serving.tally import Tally

_COMPRESSED = (".gz", ".bz2", ".deflate", ".lz4", ".snappy", ".zst", ".xz")


class SourceUnsteady(ServingError):
    """A file gave fewer rows than it now turns out to hold: the batch must be read again."""


@dataclass(frozen=True)
class FileAccount:
    """Compares the rows that a query's files gave with what they hold.

    Which files a batch has stands in Spark's checkpoint (`offsets/N`, `sources/0/N`), written before it runs.
    """

    spark: SparkSession
    source: FileOptions
    contract: Contract
    checkpoint: str

    def unread(self, number: int, tally: Tally, by_file: Callable[[], Mapping[str, int]]) -> dict[str, str]:
        """URIs of the files of batch `number` that could not be read, or only in part, each with the reason.

        `tally` is that of the batch, with its files; `by_file` counts its rows by file, which is asked for only where
        the tally leaves a doubt. SourceUnsteady where a file can be read after all.
        """
        uris = self.files(number)
        if self._is_all_read(uris, tally):
            return {}
        rows = by_file()
        found = {uri: self._fault(uri, rows.get(uri, 0)) for uri in uris}
        return {uri: fault for uri, fault in found.items() if fault}

    def files(self, number: int) -> list[str]:
        """URIs of the files of batch `number`."""
        first = self._logged_until(number - 1) + 1 if number else 0
        entries = [e for n in range(first, self._logged_until(number) + 1) for e in self._entries(n)]
        # The log writes file:///, rows carry file:/.
        return [re.sub("^file:///", "file:/", unquote(entry["path"])) for entry in entries]

    def _is_all_read(self, uris: Sequence[str], tally: Tally) -> bool:
        """Whether the tally alone says that every file gave all that it holds."""
        if set(uris) - tally.origins:
            return False
        if self.source.format is not FileFormat.PARQUET:
            return not any(_is_compressed(uri) for uri in uris)
        try:
            return sum(self._parquet_rows(uri) for uri in uris) == tally.rows
        except Py4JError:
            return False

    def _fault(self, uri: str, rows: int) -> str:
        if not self._storage.exists(uri):
            return "" if rows else "the file is gone"
        if self.source.format is FileFormat.PARQUET:
            return self._parquet_fault(uri, rows)
        if rows and not _is_compressed(uri):
            return ""
        said = self._read_error(uri)
        if said:
            return f"the file can be read in part only: {said}" if rows else f"the file cannot be read: {said}"
        return "" if rows else "the file holds no event"

    def _parquet_fault(self, uri: str, rows: int) -> str:
        try:
            held = self._parquet_rows(uri)
        except Py4JError as error:
            return f"the file is no Parquet: {_said(error)}"
        if rows == held:
            return ""
        said = self._read_error(uri)
        if not said:
            raise SourceUnsteady(f"{uri} gave {rows:,} of its {held:,} rows, and can be read now; start again.")
        return f"only {rows:,} of {held:,} rows can be read: {said}"

    def _parquet_rows(self, uri: str) -> int:
        """The number of rows by the footer."""
        file = self._input_file.fromPath(*self._storage.located(uri))
        reader = self._parquet_reader.open(file, self._read_options)
        try:
            return int(reader.getRecordCount())
        finally:
            reader.close()

    def _read_error(self, uri: str) -> str:
        """What reading the whole file fails with; empty where it succeeds."""
        reader = self.spark.read.options(ignoreCorruptFiles=False, ignoreMissingFiles=False)
        try:
            if self.source.format is FileFormat.PARQUET:
                frame = reader.schema(event_schema(self.contract)).parquet(literal(uri))
            else:
                frame = reader.text(literal(uri))
            frame.write.format("noop").mode("overwrite").save()
        except (PySparkException, Py4JError) as error:
            return _said(error)
        return ""

    def _logged_until(self, number: int) -> int:
        """The last entry of the source's log that belongs to a batch; -1 before the first."""
        lines = self._lines(join(self.checkpoint, "offsets", str(number)))
        return -1 if lines[2] == "-" else int(json.loads(lines[2])["logOffset"])

    def _entries(self, number: int) -> list[dict[str, Any]]:
        folder = join(self.checkpoint, "sources", "0")
        compact = join(folder, f"{number}.compact")
        lines = self._lines(compact if self._storage.exists(compact) else join(folder, str(number)))
        return [entry for entry in map(json.loads, lines[1:]) if entry["batchId"] == number]

    def _lines(self, uri: str) -> list[str]:
        return self._storage.read(uri).decode("utf-8").splitlines()

    @cached_property
    def _storage(self) -> Storage:
        return Storage(self.spark)

    @cached_property
    def _input_file(self) -> Any:
        return java_class(self.spark, "org.apache.parquet.hadoop.util.HadoopInputFile")

    @cached_property
    def _read_options(self) -> Any:
        # Made once, as Parquet makes them anew for each file, which takes 10 ms.
        _, conf = self._storage.located(self.checkpoint)
        return java_class(self.spark, "org.apache.parquet.HadoopReadOptions").builder(conf).build()

    @cached_property
    def _parquet_reader(self) -> Any:
        return java_class(self.spark, "org.apache.parquet.hadoop.ParquetFileReader")


def _is_compressed(uri: str) -> bool:
    return uri.lower().endswith(_COMPRESSED)


def _said(error: Exception) -> str:
    """The innermost reason of a failure, in one line."""
    cause: Any = getattr(error, "java_exception", None)
    while cause is not None and cause.getCause() is not None:
        cause = cause.getCause()
    said = str(cause.getMessage()) if cause is not None else str(error)
    return " ".join(said.split())[:200]
