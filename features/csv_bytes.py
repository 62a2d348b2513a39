"""The first bytes of a file: whether they are CSV text at all, and in which character set."""

import codecs
import re
import zlib
from dataclasses import dataclass, field

from features.errors import FeaturesError

_EXPORT = "Open it there and export it: File > Save As > CSV UTF-8."
_UNPACK = "Unpack it first."
_NOT_CSV = (
    (b"PK\x03\x04", "an Excel workbook (or another zip archive)", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)", _EXPORT),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"PAR1", "a parquet file", "Export the leads as CSV."),
    (b"%PDF", "a PDF", "Export the leads as CSV."),
    (b"<!doctype html", "a web page", "Download the CSV itself; a page often means that a login is needed."),
    (b"<html", "a web page", "Download the CSV itself; a page often means that a login is needed."),
)
_GZIP = b"\x1f\x8b"
_UNICODE_MARKS = ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))
# What Spark 4 can decode itself; other one-byte sets are read as ISO-8859-1 and translated.
_SPARK_NAMES = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "ascii": "US-ASCII",
    "iso8859-1": "ISO-8859-1",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32": "UTF-32",
}


class EmptyFile(FeaturesError):
    """A CSV file has no bytes."""


class NotCsv(FeaturesError):
    """A file that was given as CSV is a workbook, an archive, a web page or another binary."""


class WrongEncoding(FeaturesError):
    """A file is not written in the contract's character set."""


class UnknownEncoding(FeaturesError):
    """The contract names a character set that cannot be read."""


@dataclass(frozen=True)
class Charset:
    """How Spark is to read a character set: `name` for Spark, then `translation` of its characters (often empty).

    Line ends of wide character sets are no single bytes: Spark must take such files whole.
    """

    python: str
    name: str
    wide: bool = False
    translation: dict[str, str] = field(default_factory=dict, hash=False)


def charset_of(encoding: str) -> Charset:
    """The character set that a contract names; UnknownEncoding where it cannot be read."""
    try:
        python = codecs.lookup(encoding).name
    except LookupError:
        raise UnknownEncoding(f"csv.encoding {encoding!r} is no known character set; use UTF-8, say.") from None
    if python in _SPARK_NAMES:
        return Charset(python, _SPARK_NAMES[python], wide=python.startswith(("utf-16", "utf-32")))
    characters = [bytes([b]).decode(python, "replace") for b in range(256)]
    if _takes_pairs(python) or characters[:128] != [chr(b) for b in range(128)]:
        raise UnknownEncoding(f"csv.encoding {encoding!r} is not supported; convert the file to UTF-8.")
    return Charset(python, "ISO-8859-1", translation={chr(b): c for b, c in enumerate(characters) if chr(b) != c})


def _takes_pairs(python: str) -> bool:
    """Whether bytes above 127 can begin a character of two bytes (Shift_JIS, GBK, Big5 and the like)."""
    for first in range(128, 256):
        for second in (0x41, 0x80, 0xA1):
            try:
                if len(bytes([first, second]).decode(python)) == 1:
                    return True
            except UnicodeDecodeError:
                continue
    return False


def decoded(head: bytes, whole: bool, name: str, encoding: str) -> str:
    """The text at the start of a file, without its byte order mark; `whole` says that `head` is all of the file.

    Raises EmptyFile, NotCsv or WrongEncoding (with the byte, the line and a guess).
    """
    if not head:
        raise EmptyFile(f"{name} is empty (0 bytes); export it again.")
    charset = charset_of(encoding)
    if head.startswith(_GZIP):
        head, whole = _unzipped(head, name), False
    _refuse_binaries(head, name)
    if not charset.wide:
        _refuse_wide_text(head, name, encoding)
    try:
        text = codecs.getincrementaldecoder(charset.python)("strict").decode(head, final=whole)
    except UnicodeDecodeError as error:
        line, guess = head.count(b"\n", 0, error.start) + 1, _guess(head)
        raise WrongEncoding(
            f"{name} is not {encoding}: byte {error.start} (line {line}) is 0x{head[error.start]:02x}; it looks like "
            f"{guess}. Set csv.encoding to {guess} in the contract, or save the file as CSV UTF-8."
        ) from None
    return text.removeprefix("\ufeff")


def _unzipped(head: bytes, name: str) -> bytes:
    """The start of a gzip file, which Spark reads where the name says what it is."""
    if not name.lower().endswith(".gz"):
        raise NotCsv(f"{name} is a gzip archive; give it a name that ends in .gz, or unpack it.")
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 1 << 20)
    except zlib.error as error:
        raise NotCsv(f"{name} is a broken gzip archive ({error}); export it again.") from None


def _refuse_binaries(head: bytes, name: str) -> None:
    tag = head[:64].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for magic, what, remedy in _NOT_CSV:
        if head.startswith(magic) or tag.startswith(magic):
            raise NotCsv(f"{name} is {what}, not a CSV. {remedy}")
    if name.lower().endswith(".gz") and b"\x00" in head[:64]:
        raise NotCsv(f"{name} is neither a gzip archive nor text; export it again.")


def _refuse_wide_text(head: bytes, name: str, encoding: str) -> None:
    for mark, wide in _UNICODE_MARKS:
        if head.startswith(mark):
            raise WrongEncoding(
                f"{name} is {wide}, and the contract says {encoding}. "
                f"Save it as CSV UTF-8, or set csv.encoding to {wide} in the contract."
            )
    if (nul := head.find(b"\x00")) >= 0:
        raise NotCsv(
            f"{name} holds a NUL (byte {nul}): it is UTF-16 without its mark, or no text. Save it as CSV UTF-8."
        )


def _guess(head: bytes) -> str:
    """The likeliest character set of bytes that are not what the contract says."""
    for candidate in ("utf-8", "windows-1252"):
        try:
            codecs.getincrementaldecoder(candidate)("strict").decode(head)
        except UnicodeDecodeError:
            continue
        return "UTF-8" if candidate == "utf-8" else candidate
    return "ISO-8859-1"


def shown(text: str, limit: int = 60) -> str:
    """A quoted excerpt of a file's text for a message, on one line."""
    flat = re.sub(r"\s+", " ", text)
    return repr(flat if len(flat) <= limit else flat[: limit - 3] + "...")
