"""Reasons in words that a salesperson reads: the fields that raised and lowered a lead's score most."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from features.blanks import BLANKS
from serving.compiled.description import Floats
from serving.compiled.explaining import Explained

# Fields named per direction; a field of fewer points than LEAST is left out, as it would round to none.
TOP, LEAST = 3, 0.5
LONGEST = 60
REASON = pa.struct([("field", pa.string()), ("value", pa.string()), ("points", pa.float64()), ("text", pa.string())])
REASONS = pa.list_(REASON)
SPARK_TYPE = "array<struct<field:string,value:string,points:double,text:string>>"
COLUMN = "reasons"


def reasons(batch: pa.RecordBatch | pa.Table, explained: Explained, units: Mapping[str, str]) -> pa.Array:
    """Reasons per lead of a batch: up to three that raise, most first, then up to three that lower, most first.

    Each has the field, its value in words ("1,532 s"; null where it was not answered), points (one decimal; of the
    score 0-100) and the text, "TotalBrowsingTime 1,532 s: +18 points".
    """
    values = [batch.column(name) for name in explained.fields]
    chosen = most(explained.points)
    told = [
        [
            told_reason(explained.fields[f], values[f][lead].as_py(), float(explained.points[f, lead]), units)
            for f in fields
        ]
        for lead, fields in enumerate(chosen)
    ]
    return pa.array(told, REASONS)


def most(points: Floats) -> list[list[int]]:
    """Per lead the fields that raise most, then those that lower most, by points (fields x leads)."""
    if not len(points):
        return [[] for _ in range(points.shape[1])]
    order = np.argsort(-points, axis=0, kind="stable")
    found = []
    for lead in range(points.shape[1]):
        ranked, mine = order[:, lead], points[:, lead]
        up = [int(f) for f in ranked[:TOP] if mine[f] >= LEAST]
        found.append(up + [int(f) for f in ranked[::-1][:TOP] if mine[f] <= -LEAST])
    return found


def told_reason(field: str, value: Any, points: float, units: Mapping[str, str]) -> dict[str, Any]:
    """One reason, from the lead's own value of the field."""
    words = shown(value, units.get(field, ""))
    whole = math.floor(abs(points) + 0.5)
    moved = f"{'+' if points > 0 else '-'}{whole} point{'' if whole == 1 else 's'}"
    text = f"{field} {'not answered' if words is None else words}: {moved}"
    return {"field": field, "value": words, "points": round(points, 1), "text": text}


def shown(value: Any, unit: str = "") -> str | None:
    """A value in words: numbers with separators, at most two decimals and the unit; None where there is none."""
    if value is None or value != value:
        return None
    if isinstance(value, str):
        word = value.strip(BLANKS)
        return word if len(word) <= LONGEST else f"{word[: LONGEST - 3]}..."
    number = f"{float(value):,.2f}"
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {unit}".rstrip()


def short(told: Sequence[Any] | None) -> str:
    """Reasons on one line, for a console; each is a mapping or a row with `text`."""
    return "; ".join(str(reason["text"]) for reason in told or ())
