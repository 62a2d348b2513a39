"""Parquet files of leads as batches for the compiled scorer, each file in types of its own."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from features.contract import Contract
from serving.compiled.description import CategoryInput
from serving.compiled.encoding import is_number, is_text
from serving.compiled.errors import BadLead
from serving.compiled.places import BadDataset, Place
from serving.compiled.scorer import CompiledScorer
from serving.errors import one_line
from serving.scoring import wrong_types

READ_BYTES = 1 << 20  # of a column at a time, where nothing is read beforehand


@dataclass(frozen=True)
class LeadFiles:
    """The Parquet files of a folder, and what is read of each: the id, the model's fields and the label if carried.

    Batches hold the id as text, fields in the types of their file (words as dictionaries, which are looked up once per
    file), and the label in one type for all files.
    """

    dataset: Any
    contract: Contract
    numbers: frozenset[str]
    words: frozenset[str]
    label: pa.DataType | None

    @classmethod
    def of(cls, source: str, compiled: CompiledScorer, contract: Contract) -> "LeadFiles":
        """Open a folder; BadDataset where it holds no Parquet files, BadLead where the first lacks columns."""
        words = frozenset(i.name for i in compiled.description.inputs if isinstance(i, CategoryInput))
        dataset, label = _dataset(source, words), contract.label.name
        names = dict.fromkeys([contract.id.name, *compiled.description.fields])
        missing = [name for name in names if name not in dataset.schema.names]
        if missing:
            raise BadLead(
                f"the leads lack {', '.join(missing)}, which the model and the contract {contract.name!r} need. "
                "Prepare the leads by the contract, or serve a version of another feature set."
            )
        carried = _type_of(label, dataset) if label in dataset.schema.names else None
        return cls(dataset, contract, compiled.description.field_set - words, words, carried)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of a batch, each once."""
        label = [] if self.label is None else [self.contract.label.name]
        return tuple(dict.fromkeys([self.contract.id.name, *sorted(self.numbers | self.words), *label]))

    def readers(self, rows: int, threads: int) -> list[Iterator[pa.RecordBatch]]:
        """What reads each file; columns are decoded side by side where there are more threads than files.

        Each raises BadDataset, or BadLead for columns of a wrong type, and names its file.
        """
        fragments = list(self.dataset.get_fragments())
        return [self._batches(each, rows, threads > len(fragments)) for each in fragments]

    def batch(self, read: pa.RecordBatch | None = None) -> pa.RecordBatch:
        """What was read of a file as a batch: a column that the file lacks is null; of nothing, no rows."""
        types = {self.contract.id.name: pa.string(), self.contract.label.name: self.label}
        rows = 0 if read is None else read.num_rows
        there = {} if read is None else dict(zip(read.schema.names, read.columns, strict=True))
        columns = {name: _as(there.get(name, pa.nulls(rows)), types.get(name)) for name in self.names}
        return pa.RecordBatch.from_pydict(columns)

    def _batches(self, fragment: Any, rows: int, use_threads: bool) -> Iterator[pa.RecordBatch]:
        """Batches of a file.

        Arrow's scanner of a whole dataset holds whole row groups of several files decoded, whatever it is asked to
        read ahead, and a file that reads beforehand (`pre_buffer`) all of its bytes.
        """
        try:
            schema = fragment.physical_schema
            self._refuse_types(schema, fragment.path)
            held = [name for name in self.names if name in schema.names]
            words = [name for name in held if name in self.words and pa.types.is_dictionary(schema.field(name).type)]
            with pq.ParquetFile(
                fragment.path,
                metadata=fragment.metadata,
                filesystem=self.dataset.filesystem,
                read_dictionary=words,
                buffer_size=READ_BYTES,
                pre_buffer=False,
            ) as file:
                for batch in file.iter_batches(rows, columns=held, use_threads=use_threads):
                    yield self.batch(batch)
        except (pa.ArrowException, OSError) as error:
            raise BadDataset(f"{fragment.path} cannot be read: {one_line(error)}") from error

    def _refuse_types(self, schema: pa.Schema, path: str) -> None:
        """BadLead for the types that Spark's engines refuse as well."""
        asked = {self.contract.id.name, *self.numbers, *self.words}
        wrong = {f.name: str(f.type) for f in schema if f.name in asked and not _fits(f.type, f.name in self.numbers)}
        if wrong:
            raise BadLead(f"{path}: {wrong_types(wrong, self.numbers, self.contract)}")


def _dataset(source: str, words: frozenset[str]) -> Any:
    place = Place.of(source)
    if not place.entries():
        raise BadDataset(f"there are no Parquet files at {source}; name a folder that holds leads.")
    form = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=words))
    try:
        return ds.dataset(place.path, filesystem=place.files, format=form)
    except (pa.ArrowException, OSError) as error:
        raise BadDataset(f"{source} holds no Parquet files ({one_line(error)}).") from error


def _type_of(name: str, dataset: Any) -> pa.DataType:
    """The type of a column in the first file that knows one."""
    schemas = itertools.chain([dataset.schema], (each.physical_schema for each in dataset.get_fragments()))
    found = (schema.field(name).type for schema in schemas if name in schema.names)
    return next((kind for kind in found if not pa.types.is_null(kind)), pa.null())


def _as(column: pa.Array, kind: pa.DataType | None) -> pa.Array:
    return column if kind is None or column.type == kind else column.cast(kind)


def _fits(kind: pa.DataType, numeric: bool) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind) or pa.types.is_integer(kind):
        return True
    return is_number(kind) if numeric else is_text(kind)
