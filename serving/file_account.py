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
from serving.csv_source import MOST_CSV_BYTES
from serving.errors import ServingError
from serving.events import event_schema
from serving.sources import (
    MOST_JSON_BYTES,
    MOST_PACKED_BYTES,
    PACKED,
    FileFormat,
    FileOptions,
    text_lines,
    text_reader,
)
from serving.tally import Tally


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
        try:
            return self._held(uris) == tally.rows
        except (PySparkException, Py4JError):
            return False

    def _fault(self, uri: str, rows: int) -> str:
        if not self._storage.exists(uri):
            return "" if rows else "the file is gone"
        try:
            held = self._held([uri])
        except (PySparkException, Py4JError) as error:
            return self._unreadable(rows, _said(error))
        if rows != held:
            return self._less(uri, rows, held)
        return "" if held or self.source.format is FileFormat.PARQUET else self._of_none(uri)

    def _unreadable(self, rows: int, said: str) -> str:
        if self.source.format is FileFormat.PARQUET:
            return f"the file is no Parquet: {said}"
        return f"the file can be read in part only: {said}" if rows else f"the file cannot be read: {said}"

    def _less(self, uri: str, rows: int, held: int) -> str:
        """What is wrong with a file that gave other than it holds."""
        said = self._parquet_error(uri) if self.source.format is FileFormat.PARQUET else ""
        if not said:
            raise SourceUnsteady(
                f"{uri} gave {rows:,} of its {held:,} rows, and can be read now. Write files elsewhere and rename them "
                "into the folder once they are whole, and start again: nothing is lost."
            )
        return f"only {rows:,} of {held:,} rows can be read: {said}"

    def _of_none(self, uri: str) -> str:
        size = self._storage.size(uri)
        if self.source.format is FileFormat.CSV and size > MOST_CSV_BYTES:
            return (
                f"the file has {size:,} bytes; a CSV file of a stream may have {MOST_CSV_BYTES:,}. "
                "Split it, or write Parquet or JSON lines"
            )
        packed = re.search(PACKED, uri) is not None
        most = MOST_PACKED_BYTES if packed else MOST_JSON_BYTES
        if self.source.format is FileFormat.JSON and size > most:
            kind = "a compressed JSON file" if packed else "a JSON file"
            return f"the file has {size:,} bytes; {kind} of a stream may have {most:,}. Split it, or write Parquet"
        return "the file holds no event"

    def _held(self, uris: Sequence[str]) -> int:
        """The number of rows of files: by the footers of Parquet, else read again, where no fault is passed over."""
        if self.source.format is FileFormat.PARQUET:
            return sum(self._parquet_rows(uri) for uri in uris)
        reader = self.spark.read.options(ignoreCorruptFiles=False, ignoreMissingFiles=False)
        files = text_reader(reader, self.source.format).load([literal(uri) for uri in uris])
        return text_lines(files, self.source.format, self.contract).count()

    def _parquet_rows(self, uri: str) -> int:
        """The number of rows by the footer."""
        file = self._input_file.fromPath(*self._storage.located(uri))
        reader = self._parquet_reader.open(file, self._read_options)
        try:
            return int(reader.getRecordCount())
        finally:
            reader.close()

    def _parquet_error(self, uri: str) -> str:
        """What reading the whole file fails with; empty where it succeeds."""
        reader = self.spark.read.options(ignoreCorruptFiles=False, ignoreMissingFiles=False)
        try:
            frame = reader.schema(event_schema(self.contract)).parquet(literal(uri))
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


def _said(error: Exception) -> str:
    """The innermost reason of a failure, in one line."""
    cause: Any = getattr(error, "java_exception", None)
    while cause is not None and cause.getCause() is not None:
        cause = cause.getCause()
    said = str(cause.getMessage()) if cause is not None else str(error)
    return " ".join(said.split())[:200]
