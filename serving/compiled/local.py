"""Scoring Parquet files on one machine without Spark: by threads, and into an output that appears whole."""

import itertools
import json
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from features.contract import Contract
from serving.compiled.feed import Feed
from serving.compiled.lead_files import LeadFiles
from serving.compiled.places import BadDataset, Place
from serving.compiled.reasons import COLUMN
from serving.compiled.scorer import CompiledScorer
from serving.errors import one_line
from serving.ownership import MARKER, NotOurs
from serving.registry import ResolvedVersion
from serving.replacing import replacing

BATCH_ROWS = 65_536
ROWS_PER_FILE = 4_000_000


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
    leads = LeadFiles.of(source, compiled, contract)
    now = datetime.now(UTC)
    about = {"kind": kind, "model": version.name, "version": str(version.version), "source": source}

    def score(batch: pa.RecordBatch) -> pa.RecordBatch:
        return scored_batch(batch, compiled, version, contract, now, reasons)

    try:
        with replacing(place, place.path) as staged:
            place.files.create_dir(staged, recursive=True)
            rows = _write_all(place.files, staged, score, leads.readers(batch_rows, threads), threads)
            if rows == 0:
                _write(place.files, staged, itertools.count(), iter([score(leads.batch())]))
            with place.files.open_output_stream(posixpath.join(staged, MARKER)) as out:
                out.write(json.dumps(about, indent=2, sort_keys=True).encode())
        return rows
    except (pa.ArrowException, OSError) as error:
        raise BadDataset(f"{source} cannot be scored into {output}: {one_line(error)}") from error


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
        contract.id.name: batch.column(contract.id.name),
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
