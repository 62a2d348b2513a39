"""The header of a CSV file against the contract: what is missing, repeated, unknown or split in the wrong way."""

import csv
import difflib
import io
from collections.abc import Iterable
from dataclasses import dataclass

from features.contract import Contract, CsvFormat, Kind, LeadField
from features.csv_bytes import charset_of, decoded, shown
from features.errors import FeaturesError

HEAD_BYTES = 1 << 20
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


class UnreadableHeader(FeaturesError):
    """The first line of a file is no header."""


class MissingColumns(FeaturesError):
    """A file lacks columns that the contract reads."""


class RepeatedColumns(FeaturesError):
    """A column that the contract reads stands in the header more than once."""


class WrongDelimiter(FeaturesError):
    """A file is split by another character than the contract says."""


@dataclass(frozen=True)
class Header:
    """The columns of a file in its own order; `unknown` are those that the contract does not name."""

    columns: tuple[str, ...]
    unknown: tuple[str, ...]
    has_rows: bool

    def position(self, field: LeadField) -> int | None:
        """Where a field's column stands (from 0); None where the file lacks it."""
        source = field.source.strip()
        return self.columns.index(source) if source in self.columns else None


def read_header(head: bytes, whole: bool, name: str, contract: Contract, labelled: bool = True) -> Header:
    """Check the start of a file against the contract and return its header.

    `head` are the first bytes of the file `name`, and all of it where `whole`. Ignored fields may be missing,
    and the label too unless `labelled`. Raises the errors of this module and of `features.csv_bytes`.
    """
    text = decoded(head, whole, name, contract.csv.encoding)
    columns, rest = _first_record(text, contract.csv, name)
    needed = [f for f in contract.kept if labelled or f.kind is not Kind.LABEL]
    missing = [f for f in needed if f.source.strip() not in columns]
    if missing:
        _refuse_other_delimiter(text, columns, name, contract)
        raise MissingColumns(_missing_message(missing, columns, name, contract))
    twice = sorted({f.source.strip() for f in contract.kept if columns.count(f.source.strip()) > 1})
    if twice:
        raise RepeatedColumns(f"{name} has the column {_names(twice)} twice; remove or rename one of the two.")
    known = {f.source.strip() for f in contract.fields}
    unknown = tuple(dict.fromkeys(c for c in columns if c not in known))
    return Header(tuple(columns), unknown, has_rows=not whole or bool(rest.strip()))


def _first_record(text: str, form: CsvFormat, name: str) -> tuple[list[str], str]:
    """The first line that is not blank, split into trimmed values, and the text after it."""
    stream = io.StringIO(text.lstrip("\r\n \ufeff"), newline=None)
    lines = stream if form.multiline or charset_of(form.encoding).wide else [stream.readline()]
    values = _split(lines, form.delimiter, form.quote, name)
    if len(values) == 1 and form.delimiter in values[0]:
        # A spreadsheet quoted the whole line as one value.
        values = _split([values[0]], form.delimiter, form.quote, name)
    if values and values[0].lower().startswith("sep="):
        raise UnreadableHeader(f"{name} begins with {shown(values[0])}, a line for Excel alone; delete that line.")
    if not values:
        raise UnreadableHeader(f"{name} holds blank lines only; export it again.")
    return values, stream.read()


def _split(lines: Iterable[str], delimiter: str, quote: str, name: str) -> list[str]:
    try:
        record = next(csv.reader(lines, delimiter=delimiter, quotechar=quote, skipinitialspace=True), [])
    except csv.Error as error:
        raise UnreadableHeader(f"the header of {name} cannot be split ({error}); check csv.quote.") from None
    return [value.strip() for value in record]


def _refuse_other_delimiter(text: str, columns: list[str], name: str, contract: Contract) -> None:
    """WrongDelimiter where another delimiter finds more of the contract's columns."""
    sources = {f.source.strip() for f in contract.fields}
    for delimiter, called in _DELIMITERS.items():
        if delimiter in (contract.csv.delimiter, contract.csv.quote):
            continue
        form = contract.csv.model_copy(update={"delimiter": delimiter})
        if len(sources & set(_first_record(text, form, name)[0])) > len(sources & set(columns)):
            raise WrongDelimiter(
                f"{name} is split by {called}, and the contract {contract.name!r} says {contract.csv.delimiter!r}. "
                f"Set csv.delimiter to {delimiter!r} in the contract."
            )


def _missing_message(missing: list[LeadField], columns: list[str], name: str, contract: Contract) -> str:
    sources = [f.source.strip() for f in missing]
    if len(sources) == len(contract.kept):
        found = f"The first line is {shown(contract.csv.delimiter.join(columns))}: is it a header?"
    else:
        close = [f"{match!r} for {s!r}" for s in sources if (match := _closest(s, columns))]
        found = f"Closest headers found: {', '.join(close)}." if close else "No header comes close."
    return (
        f"{name} lacks {_names(sources)}; the contract {contract.name!r} needs them. {found} "
        "Rename the columns, or edit `source` in the contract."
    )


def _closest(source: str, columns: list[str]) -> str | None:
    """The header most like a source, whatever its case and spacing."""
    plain = {"".join(c.lower().split()): c for c in columns}
    match = difflib.get_close_matches("".join(source.lower().split()), plain, n=1, cutoff=0.6)
    return plain[match[0]] if match else None


def _names(names: list[str], most: int = 8) -> str:
    listed = ", ".join(repr(n) for n in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
