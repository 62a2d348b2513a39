"""Scoring Parquet files on one machine without Spark: by threads, and into an output that appears whole."""

import itertools
import json
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from features.contract import Contract, Kind
from serving.compiled.errors import BadLead
from serving.compiled.feed import Feed
from serving.compiled.reasons import COLUMN
from serving.compiled.scorer import CompiledScorer
from serving.errors import ServingError
from serving.ownership import MARKER, NotOurs
from serving.registry import ResolvedVersion
from serving.replacing import replacing

BATCH_ROWS = 65_536
READ_BYTES = 1 << 20  # of a column at a time, where nothing is read beforehand
ROWS_PER_FILE = 4_000_000
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


def marker(folder: str, kind: str) -> dict[str, Any] | None:
    """What the marker of an output of this kind says, or None where it is absent or empty; NotOurs otherwise."""
    place = Place.of_output(folder)
    path = posixpath.join(place.path, MARKER)
    entries = place.entries()
    if not entries:
        return None
    found: dict[str, Any] = {}
    if any(e.base_name == MARKER for e in entries):
        with place.files.open_input_stream(path) as file:
            found = json.loads(file.read())
    if found.get("kind") != kind:
        raise NotOurs(f"{folder} is not empty and does not hold the {kind}; name a new or an empty folder.")
    return found


def score_dataset(
    source: str,
    output: str,
    compiled: CompiledScorer,
    version: ResolvedVersion,
    contract: Contract,
    *,
    kind: str,
    threads: int = 2,
    batch_rows: int = BATCH_ROWS,
    reasons: bool = False,
) -> int:
    """Score a folder of Parquet files into `output`, with the columns of `scored_by_compiled`; the number of leads.

    The scores are written beside `output` and renamed into its place, replacing what was there; where anything
    fails nothing changes. Each thread reads, scores and writes a batch of `batch_rows` leads at a time, into files of
    its own: memory holds a few batches per thread, and the leads keep no order. `kind` goes into the marker of the
    output. BadDataset where there is nothing to read or the output's folder cannot be renamed, BadLead for wrong
    columns.
    """
    place = Place.of_output(output)
    leads = _dataset(source, compiled, contract)
    columns = _columns(leads.schema, compiled, contract)
    now = datetime.now(UTC)
    schema = pa.schema([leads.schema.field(name) for name in columns])
    about = {"kind": kind, "model": version.name, "version": str(version.version), "source": source}

    def score(batch: pa.RecordBatch) -> pa.RecordBatch:
        return scored_batch(batch, compiled, version, contract, now, reasons)

    try:
        with replacing(place, place.path) as staged:
            place.files.create_dir(staged, recursive=True)
            rows = _write_all(place.files, staged, score, _readers(leads, schema, batch_rows, threads), threads)
            if rows == 0:
                _write(place.files, staged, itertools.count(), iter([score(pa.RecordBatch.from_pylist([], schema))]))
            with place.files.open_output_stream(posixpath.join(staged, MARKER)) as out:
                out.write(json.dumps(about, indent=2, sort_keys=True).encode())
        return rows
    except (pa.ArrowInvalid, OSError) as error:
        raise BadDataset(f"{source} cannot be scored into {output}: {_first_line(error)}") from error


def scored_batch(
    batch: pa.RecordBatch,
    compiled: CompiledScorer,
    version: ResolvedVersion,
    contract: Contract,
    now: datetime,
    reasons: bool = False,
) -> pa.RecordBatch:
    """Scores of a batch: id, score, probability, prediction, grade, model_version, scored_at, label if carried.

    With `reasons` a column of that name follows `scored_at`.
    """
    scores, rows = compiled.score(batch), batch.num_rows
    label = contract.label.name
    columns: dict[str, Any] = {
        contract.id.name: batch.column(contract.id.name).cast(pa.string()),
        "score": pa.array(scores.score),
        "probability": pa.array(scores.probability),
        "prediction": pa.array(scores.prediction),
        "grade": scores.grades(),
        "model_version": pa.array(np.full(rows, version.version, np.int32)),
        "scored_at": pa.array([now], pa.timestamp("us", tz="UTC")).take(pa.array(np.zeros(rows, np.int8))),
    }
    if reasons:
        columns[COLUMN] = compiled.reasons(batch)
    if label in batch.schema.names:
        columns[label] = batch.column(label)
    return pa.RecordBatch.from_pydict(columns)


def _dataset(source: str, compiled: CompiledScorer, contract: Contract) -> Any:
    """The Parquet files of a folder; words are read as dictionaries, which are looked up once per file."""
    place = Place.of(source)
    if not place.entries():
        raise BadDataset(f"there are no Parquet files at {source}; name a folder that holds leads.")
    words = {f.name for f in contract.fields if f.kind is Kind.CATEGORY and f.name in compiled.description.fields}
    form = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=words))
    try:
        return ds.dataset(place.path, filesystem=place.files, format=form)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadDataset(f"{source} holds no Parquet files ({_first_line(error)}).") from error


def _readers(leads: Any, schema: pa.Schema, rows: int, threads: int) -> list[Iterator[pa.RecordBatch]]:
    """What reads each file; columns are decoded side by side where there are more threads than files."""
    fragments = list(leads.get_fragments())
    return [_batches(each, leads.filesystem, schema, rows, threads > len(fragments)) for each in fragments]


def _batches(
    fragment: Any, files: pafs.FileSystem, schema: pa.Schema, rows: int, use_threads: bool
) -> Iterator[pa.RecordBatch]:
    """Batches of a file, in a schema.

    Arrow's scanner of a whole dataset holds whole row groups of several files decoded, whatever it is asked to read
    ahead, and a file that reads beforehand (`pre_buffer`) all of its bytes. A column that a file lacks is null, and one
    of another type is cast, as that scanner does.
    """
    there = fragment.physical_schema.names
    held = [field for field in schema if field.name in there]
    words = [field.name for field in held if pa.types.is_dictionary(field.type)]
    with pq.ParquetFile(
        fragment.path,
        metadata=fragment.metadata,
        filesystem=files,
        read_dictionary=words,
        buffer_size=READ_BYTES,
        pre_buffer=False,
    ) as file:
        for batch in file.iter_batches(rows, columns=[field.name for field in held], use_threads=use_threads):
            yield pa.RecordBatch.from_arrays([_as(batch, field) for field in schema], schema=schema)


def _as(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else column.cast(field.type)


def _columns(schema: pa.Schema, compiled: CompiledScorer, contract: Contract) -> list[str]:
    needed = list(dict.fromkeys([contract.id.name, *compiled.description.fields]))
    missing = [name for name in needed if name not in schema.names]
    if missing:
        raise BadLead(
            f"the leads lack {', '.join(missing)}, which the model and the contract {contract.name!r} need. Prepare "
            "the leads by the contract, or serve a version of another feature set."
        )
    return needed + ([contract.label.name] if contract.label.name in schema.names else [])


def _write_all(
    files: pafs.FileSystem,
    folder: str,
    function: Callable[[pa.RecordBatch], pa.RecordBatch],
    readers: list[Iterator[pa.RecordBatch]],
    threads: int,
) -> int:
    """Write what a function makes of the batches, by so many threads; the number of rows. An error ends them all."""
    feed, numbers = Feed(readers), itertools.count()
    with ThreadPoolExecutor(threads) as pool:
        try:
            begun = [
                pool.submit(_write, files, folder, numbers, (function(batch) for batch in feed)) for _ in range(threads)
            ]
            return sum(each.result() for each in as_completed(begun))
        finally:
            feed.end()


def _write(files: pafs.FileSystem, folder: str, numbers: Iterator[int], batches: Iterator[pa.RecordBatch]) -> int:
    """Write batches into numbered files of a few million rows, none where there is no batch; the number of rows."""
    rows = 0
    for first in batches:
        path = posixpath.join(folder, f"part-{next(numbers):05d}.snappy.parquet")
        schema, full, own = first.schema, rows + ROWS_PER_FILE, itertools.chain([first], batches)
        del first  # it would be held until the file is full
        with pq.ParquetWriter(path, schema, filesystem=files) as writer:
            for batch in own:
                writer.write_batch(batch)
                rows += batch.num_rows
                if rows >= full:
                    break
    return rows


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
