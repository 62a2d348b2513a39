"""How numbers are written: plain, with a thousands separator that the contract names, or in a way it does not expect.

Patterns are common to Python and to Java, so that the driver judges an example as Spark judged the rows.
"""

import re
from collections.abc import Iterable

from pyspark.sql import Column
from pyspark.sql import functions as F

SEPARATORS = (",", ".", " ", "'")
NOT_FINITE = r"(?i)^[-+]?(nan|inf|infinity)$"
_SPACES = " \u00a0\u202f"
_MOST_GROUPS = 160
_EXPONENT = r"([eE][-+]?[0-9]+)?"


def plain(marks: str = ".") -> str:
    """Pattern of a number without thousands separators: 5, -5., .5, 1e3; `marks` are the decimal marks."""
    return rf"^[-+]?([0-9]+([{marks}][0-9]*)?|[{marks}][0-9]+){_EXPONENT}$"


def grouped(thousands: str) -> str:
    """Pattern of a number with thousands separators: 1,234.5; groups of two too (12,34,567).

    Of as many groups as a double may have: Java matches groups of varying width by recursion, and ends on thousands.
    """
    t, marks = _separator(thousands), decimal_marks(thousands)
    return rf"^[-+]?[0-9]{{1,3}}({t}[0-9]{{2,3}}){{0,{_MOST_GROUPS}}}{t}[0-9]{{3}}([{marks}][0-9]*)?$"


def decimal_marks(thousands: str) -> str:
    """The decimal marks that a thousands separator leaves: a point, a comma, or either; without one a point."""
    return {".": ",", " ": ".,", "'": ".,"}.get(thousands, ".")


def number(text: Column, thousands: str) -> Column:
    """A text as a double; null where it is no number in the contract's way of writing (`thousands` may be "")."""
    marks = decimal_marks(thousands)
    written = F.when(text.rlike(plain(marks)), text)
    if thousands:
        written = written.when(text.rlike(grouped(thousands)), F.regexp_replace(text, _separator(thousands), ""))
    if "," in marks:
        written = F.replace(written, F.lit(","), F.lit("."))
    return written.try_cast("double")


def separated(text: Column) -> Column:
    """Whether a text would be a number under another way of writing than a plain one."""
    return text.rlike("|".join([*(grouped(t) for t in SEPARATORS), plain(",")]))


def separator_for(examples: Iterable[str]) -> str | None:
    """The thousands separator under which all examples are numbers; None where there is none."""
    listed = list(examples)
    for separator in SEPARATORS:
        patterns = (plain(decimal_marks(separator)), grouped(separator))
        if all(any(re.match(p, e) for p in patterns) for e in listed):
            return separator
    return None


def _separator(thousands: str) -> str:
    """Pattern of a separator; spaces of all widths are one."""
    return f"[{_SPACES}]" if thousands in _SPACES else re.escape(thousands)
