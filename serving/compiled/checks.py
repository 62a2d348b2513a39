"""Live leads held to the contract: fields, types, ranges and lengths, with every fault named."""

import difflib
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.blanks import BLANKS
from serving.compiled.description import CategoryInput, Description, NumericInput
from serving.compiled.encoding import as_doubles, is_number, is_text
from serving.compiled.errors import BadLead

SHOWN = 5


def checked_lead(lead: Mapping[str, Any], description: Description) -> None:
    """BadLead unless a lead has exactly the model's fields, each None or a value that the contract allows."""
    refuse_fields(lead, description)
    faults = [fault for i in description.inputs if (fault := _fault(lead[i.name], i)) is not None]
    if faults:
        raise BadLead(f"the lead is refused: {'; '.join(faults)}.")


def refuse_fields(names: Iterable[str], description: Description) -> None:
    """BadLead unless the names are exactly the model's fields; an unanswered field is sent as null."""
    given, known = set(names), description.fields
    if given == description.field_set:
        return
    missing = [name for name in known if name not in given]
    unknown = sorted(str(name) for name in given if name not in known)
    said = []
    if missing:
        said.append(f"the lead lacks {', '.join(missing)} (send null for a field that was not answered)")
    for name in unknown[:SHOWN]:
        near = difflib.get_close_matches(name, missing or known, n=1)
        said.append(f"{name} is no field of the model{f'; did you mean {near[0]}?' if near else ''}")
    raise BadLead("; ".join(said) + f". The fields are {', '.join(known)}.")


def checked_batch(batch: pa.Table, description: Description) -> None:
    """BadLead where a column of a batch is of another type, or a value outside the contract's limits; names both."""
    faults = [fault for i in description.inputs if (fault := _column_fault(batch.column(i.name), i)) is not None]
    if faults:
        raise BadLead(f"{len(faults)} fields hold values that the contract refuses: {'; '.join(faults[:SHOWN])}.")


def _fault(value: Any, source: NumericInput | CategoryInput) -> str | None:
    if value is None:
        return None
    if isinstance(source, CategoryInput):
        if not isinstance(value, str):
            return _other_type(source, value)
        if not value.isascii() and not _is_unicode(value):
            return f"{source.name} is {_shown(value)}, expected text of whole characters or null"
        if len(value) <= source.max_length or len(value.strip(BLANKS)) <= source.max_length:
            return None
        return _too_long(source, len(value))
    if type(value) not in (float, int) and (isinstance(value, bool) or not isinstance(value, Real)):
        return _other_type(source, value)
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = float("inf") if value > 0 else float("-inf")
    if not source.minimum <= number <= source.maximum or number in (float("inf"), float("-inf")):
        return _out_of_range(source, number)
    return None


def _column_fault(column: pa.ChunkedArray, source: NumericInput | CategoryInput) -> str | None:
    if column.null_count == len(column):
        return None
    if not _fits(column.type, source):
        return _other_type(source, column.drop_null()[0].as_py())
    if isinstance(source, CategoryInput):
        words = column.cast(pa.string())
        lengths = _lengths(words)
        if (lengths > source.max_length).any():
            lengths = _lengths(pc.utf8_trim(words, BLANKS))
        row = int(lengths.argmax()) if len(lengths) else 0
        too_long = len(lengths) and lengths[row] > source.max_length
        return f"row {row}: {_too_long(source, int(lengths[row]))}" if too_long else None
    numbers = as_doubles(column).to_numpy()
    outside = ~np.isnan(numbers) & ((numbers < source.minimum) | (numbers > source.maximum) | np.isinf(numbers))
    if not outside.any():
        return None
    row = int(outside.argmax())
    return f"row {row}: {_out_of_range(source, float(numbers[row]))}"


def _fits(kind: pa.DataType, source: NumericInput | CategoryInput) -> bool:
    """Whether a column holds what single leads may hold: text for words, numbers for numbers."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) if isinstance(source, CategoryInput) else is_number(kind)


def _is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, which JSON may bring."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lengths(words: pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.asarray(pc.fill_null(pc.utf8_length(words), 0).to_numpy())


def _other_type(source: NumericInput | CategoryInput, value: Any) -> str:
    wanted = "text" if isinstance(source, CategoryInput) else "a number"
    return f"{source.name} is {_shown(value)}, expected {wanted} or null"


def _too_long(source: CategoryInput, length: int) -> str:
    return f"{source.name} has {length} characters, at most {source.max_length} are allowed"


def _out_of_range(source: NumericInput, value: float) -> str:
    return f"{source.name} is {value:g}, expected {source.minimum:g} to {source.maximum:g} or null"


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text[:40]}... ({type(value).__name__})" if len(text) > 40 else f"{text} ({type(value).__name__})"
