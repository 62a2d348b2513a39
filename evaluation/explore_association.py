"""How fields go together: Cramer's V between every two, on a bounded sample of codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from evaluation.exploration import Association, Categories, FieldProfile
from features.contract import Contract

SAMPLE = 20_000


def associate(
    leads: DataFrame,
    contract: Contract,
    categories: Sequence[Categories],
    profiles: Sequence[FieldProfile],
    sample: int = SAMPLE,
) -> Association:
    """V between the label and every field with more than one value, and between those fields.

    A category counts by its most frequent words, the rest and missing; a number by quarters and missing. The sample is
    the leads with the smallest hashes of their ids, so the same leads give the same numbers.
    """
    label = contract.label.name
    codes = {label: F.col(label)} | {c.name: _word_code(c) for c in categories}
    codes |= {p.name: _number_code(p) for p in profiles if p.quantiles}
    kept = leads.orderBy(F.xxhash64(contract.id.name)).limit(sample)
    names = [label, *(p.name for p in profiles if p.name in codes)]
    rows = kept.select(F.array(*(codes[name].cast("int") for name in names)).alias("codes")).collect()
    table = np.array([row["codes"] for row in rows], dtype=np.int64)
    used = [0, *(i for i in range(1, len(names)) if len(np.unique(table[:, i])) > 1)]
    matrix = [[cramers_v(table[:, a], table[:, b]) for b in used] for a in used]
    return Association(tuple(names[i] for i in used), tuple(tuple(row) for row in matrix), len(rows))


def cramers_v(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Bias-corrected Cramer's V of two columns of codes (Bergsma 2013), 0 to 1; 0 where one is constant."""
    (_, a), (_, b) = (np.unique(codes, return_inverse=True) for codes in (first, second))
    rows, columns, n = int(a.max()) + 1, int(b.max()) + 1, len(a)
    if min(rows, columns) < 2 or n < 2:
        return 0.0
    seen = np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns)
    expected = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / n
    phi2 = float(((seen - expected) ** 2 / expected).sum()) / n
    corrected = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    k, r = (size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    return float(min(1.0, np.sqrt(corrected / max(min(k, r) - 1, 1e-12))))


def _word_code(field: Categories) -> Column:
    """0 missing, 1 a rare word, 2 on the frequent ones."""
    word = F.col(field.name)
    place = F.array_position(F.array(*(F.lit(w) for w, _ in field.words)), word) if field.words else F.lit(0)
    return F.when(word.isNull(), 0).otherwise(F.coalesce(place, F.lit(0)) + 1)


def _number_code(field: FieldProfile) -> Column:
    """0 missing, 1 to 4 the quarter."""
    value = F.col(field.name)
    above = [F.when(value > F.lit(cut), 1).otherwise(0) for cut in field.quantiles[1:4]]
    return F.when(value.isNull(), 0).otherwise(above[0] + above[1] + above[2] + 1)
