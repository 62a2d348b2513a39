"""Leads as codes: what the forest can tell apart of each field, with Spark's meaning of missing and unseen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.blanks import BLANKS
from serving.compiled.description import CategoryInput, Description, Floats, NumericInput
from serving.compiled.errors import BadLead
from serving.compiled.layout import InputColumns, Layout, code_count

LARGEST_KEY = 2**62
Codes = npt.NDArray[np.int64]
WordIndex = dict[int, dict[Any, int]]


@dataclass(frozen=True)
class Encoded:
    """A batch of leads: per input of the layout its codes (or its numbers), and one key per lead.

    Leads of equal key are neighbours in what the forest asks; where `exact`, they are the same to it.
    """

    values: list[npt.NDArray[Any]]
    key: npt.NDArray[np.uint64]
    exact: bool


def encode(batch: pa.RecordBatch | pa.Table, description: Description, layout: Layout) -> Encoded:
    """Encode a batch with the lead's fields as columns (further ones are not read); BadLead names wrong ones."""
    missing = [name for name in description.fields if name not in batch.schema.names]
    if missing:
        raise BadLead(f"the leads lack {', '.join(missing)}; the model needs {', '.join(description.fields)}.")
    key, exact, size = np.zeros(batch.num_rows, np.uint64), True, 1
    values: list[npt.NDArray[Any]] = []
    for place in layout.inputs:
        found, kinds = _values(batch.column(description.inputs[place.index].name), description, place)
        values.append(found)
        if size * place.kinds > LARGEST_KEY:
            exact = False
        if exact:
            size *= place.kinds
            key *= np.uint64(place.kinds)
            key += kinds.astype(np.uint64)
    return Encoded(values, key, exact)


def matrix(encoded: Encoded, rows: npt.NDArray[np.intp], layout: Layout) -> Floats:
    """The forest's matrix (double, rows x layout.width) of some leads of a batch."""
    out = np.zeros((len(rows), layout.width))
    flat, base = out.reshape(-1), np.arange(len(rows)) * layout.width
    for place, values in zip(layout.inputs, encoded.values, strict=True):
        mine = values[rows]
        if place.hot is not None:
            flat[base + place.hot[mine]] = 1.0
        elif place.table is not None:
            out[:, place.first : place.last] = place.table[mine]
        else:
            out[:, place.first] = mine
    return out


def one_row(lead: Mapping[str, Any], description: Description, layout: Layout, index: WordIndex) -> Floats:
    """The forest's matrix of one lead (1 x layout.width); numbers are floats or None, words are text or None."""
    out = np.zeros((1, layout.width))
    for place in layout.inputs:
        source = description.inputs[place.index]
        value = lead[source.name]
        if place.hot is not None:
            out[0, place.hot[_code(value, index[place.index])]] = 1.0
        elif isinstance(source, CategoryInput):
            out[0, place.first : place.last] = place.table[_code(value, index[place.index])]  # type: ignore[index]
        elif place.table is not None:
            code = -1
            if value is not None or source.fill is not None:
                code = int(_buckets(_filled(np.array([value], np.float64), source), source)[0])
            out[0, place.first : place.last] = place.table[code]
        else:
            number = float("nan") if value is None else value
            out[0, place.first] = source.fill if number != number and source.fill is not None else number
    return out


def word_index(description: Description) -> WordIndex:
    """Code of each known word by input, for one lead at a time; any other word has the code -1, the last one."""
    words = {at: i for at, i in enumerate(description.inputs) if isinstance(i, CategoryInput)}
    return {at: {word: code for code, word in enumerate(_labels(i)) if word is not None} for at, i in words.items()}


def _code(word: str | None, known: Mapping[Any, int]) -> int:
    code = known.get(word)
    if code is None:
        code = -1 if word is None else known.get(word.strip(BLANKS), -1)
    return code


def _labels(source: CategoryInput) -> list[str | None]:
    """Known words; None for one with blanks around it, which no word is once its own are gone."""
    return [label if label == label.strip(BLANKS) else None for label in source.labels]


def _values(
    column: pa.Array | pa.ChunkedArray, description: Description, place: InputColumns
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Codes of a column and their classes; of a plain number the numbers and how many thresholds they pass."""
    source = description.inputs[place.index]
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(source, CategoryInput):
        codes = word_codes(array, source)
        return codes, place.classes[codes]
    if source.edges:
        codes = _number_codes(array, source)
        return codes, place.classes[codes]
    numbers = _filled(_numbers(array, source.name), source)
    return numbers, np.searchsorted(place.thresholds, numbers, side="left")


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers; truth values are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def as_doubles(numbers: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Numbers as the nearest doubles, as Spark casts them; Arrow's own cast of a decimal may be a digit off."""
    if pa.types.is_decimal(numbers.type):
        numbers = numbers.cast(pa.string())
    return numbers.cast(pa.float64(), safe=False)


def word_codes(array: pa.Array, source: CategoryInput) -> Codes:
    """Code of each word of a column, without blanks around it; missing and unknown words have the last code."""
    other = len(source.labels)
    if pa.types.is_dictionary(array.type):
        of_word = np.append(word_codes(array.dictionary, source), other)
        return of_word[pc.fill_null(array.indices.cast(pa.int64()), len(of_word) - 1).to_numpy(zero_copy_only=False)]
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), other, np.int64)
    if pa.types.is_integer(kind):
        array = array.cast(pa.string())
    elif not is_text(kind):
        raise BadLead(f"{source.name} is {kind}, expected a string; cast it, or prepare the leads by the contract.")
    found = _found(array, source)
    if found.null_count > array.null_count:
        # A known word has no blanks around it: the others alone are looked up without theirs.
        unknown = pc.and_(pc.is_null(found), pc.is_valid(array))
        words = pc.utf8_trim(array.filter(unknown).cast(pa.string()), BLANKS)
        found = pc.replace_with_mask(found, unknown, _found(words, source))
    return pc.fill_null(found, other).to_numpy(zero_copy_only=False).astype(np.int64)


def _found(words: pa.Array, source: CategoryInput) -> pa.Array:
    return pc.index_in(words, value_set=pa.array(_labels(source), words.type), skip_nulls=True)


def _numbers(array: pa.Array, name: str) -> Floats:
    """Doubles of a column, NaN where it has no value."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if not is_number(kind):
        raise BadLead(f"{name} is {kind}, expected a number; cast it, or prepare the leads by the contract.")
    return np.asarray(as_doubles(array).to_numpy(zero_copy_only=False), np.float64)


def _filled(numbers: Floats, source: NumericInput) -> Floats:
    """Spark's Imputer: null and NaN become the fill value; infinities stay."""
    return numbers if source.fill is None else np.where(np.isnan(numbers), source.fill, numbers)


def _number_codes(array: pa.Array, source: NumericInput) -> Codes:
    codes = _buckets(_filled(_numbers(array, source.name), source), source)
    if source.fill is None and array.null_count:
        codes[array.is_null().to_numpy(zero_copy_only=False)] = code_count(source) - 1
    return codes


def _buckets(numbers: Floats, source: NumericInput) -> Codes:
    """Spark's Bucketizer: from an edge (included) to the next; infinity in the last bucket, NaN in one of its own."""
    edges = np.asarray(source.edges)
    if 0.0 in source.edges:
        # Java's binary search puts -0.0 below 0.0.
        numbers = np.where((numbers == 0) & np.signbit(numbers), -5e-324, numbers)
    codes = np.searchsorted(edges[1:-1], numbers, side="right").astype(np.int64)
    codes[np.isnan(numbers)] = len(edges) - 1
    return codes
