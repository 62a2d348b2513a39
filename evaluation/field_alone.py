"""What every field of a lead knows of the label by itself, on a bounded sample of leads."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

from features.contract import Contract, Kind, LeadField
from features.splits import fold_of

FOLD, FOLDS, BINS = "__fold", 5, 20
# Leads' worth of the base rate that a category starts from: a word met once says next to nothing.
SMOOTHING = 10.0
_MISSING = -1


@dataclass(frozen=True)
class FieldAlone:
    """One field against the label; shares and rates lie in [0, 1], areas in [0.5, 1] whichever way the field points.

    `auc` is the surer of two areas, the one that is larger less two standard errors: of the out-of-fold share of
    converted leads among those with the same word (a number: in the same twentieth), over all leads; and of the number
    itself, over the leads in which it is filled in. `auc_leads` are the leads of that area and `auc_error` is its
    standard error. `auc_missing` is the area of whether the field is filled in at all. `copies_id` and `copies_order`
    are the shares of filled leads in which the field says what the id or order field says; `follows_order` is the
    absolute correlation with the order field.
    """

    name: str
    kind: str
    known_at: str
    leads: int
    won: int
    filled: int
    won_filled: int
    auc: float
    auc_error: float
    auc_leads: int
    auc_missing: float
    distinct: int
    copies_id: float
    copies_order: float
    follows_order: float

    @property
    def rate_filled(self) -> float | None:
        """Share of converted leads among those in which the field is filled in; None where it never is."""
        return self.won_filled / self.filled if self.filled else None

    @property
    def rate_missing(self) -> float | None:
        """Share of converted leads among those in which the field is empty; None where it never is."""
        empty = self.leads - self.filled
        return (self.won - self.won_filled) / empty if empty else None

    def as_dict(self) -> dict[str, Any]:
        """The numbers and both rates as JSON-like data."""
        return {**asdict(self), "rate_filled": self.rate_filled, "rate_missing": self.rate_missing}


def columns_alone(contract: Contract, fields: Sequence[LeadField], seed: int = 0) -> list[Column]:
    """What `fields_alone` reads: the fields, label, id and order field, and a fold by `lead_group`.

    Repeats of a lead share a fold, so that none is judged by its own repeat.
    """
    names = [f.name for f in (*fields, contract.id, contract.order)]
    return [*map(F.col, names), F.col(contract.label.name).cast("int"), fold_of(FOLDS, seed).alias(FOLD)]


def fields_alone(rows: pd.DataFrame, contract: Contract, fields: Sequence[LeadField]) -> list[FieldAlone]:
    """Measure each of `fields`, and the id and order fields, alone; in the order given, id and order last.

    `rows` are leads with the columns of `columns_alone`.
    """
    won, fold = rows[contract.label.name].to_numpy() == 1, rows[FOLD].to_numpy()
    ids, order = rows[contract.id.name].astype("string"), _numbers(rows[contract.order.name])
    id_numbers = _numbers(rows[contract.id.name])
    asked = [*fields, contract.id, contract.order]
    return [_alone(f, rows[f.name], won, fold, (ids, id_numbers), order) for f in asked]


def rank_auc(scores: np.ndarray, won: np.ndarray) -> float:
    """Area under the ROC curve of `scores` (n,) for the converted leads `won` (n,); ties count one half.

    0.5 where a class is missing.
    """
    ones = int(won.sum())
    zeros = len(won) - ones
    if not (ones and zeros):
        return 0.5
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[won].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def auc_error(auc: float, won: int, lost: int) -> float:
    """Standard error of an area from its size and the leads of each class (Hanley and McNeil 1982).

    No number of leads makes an area of 1 sure, though the formula's error is 0 there: the error is at least that of the
    area which would be left if one more lead of each class lay at the wrong end. 0.5 where a class is missing.
    """
    if not (won and lost):
        return 0.5
    auc = min(auc, max(0.5, won * lost / ((won + 1) * (lost + 1))))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return math.sqrt((auc * (1 - auc) + (won - 1) * (q1 - auc**2) + (lost - 1) * (q2 - auc**2)) / (won * lost))


def _numbers(values: pd.Series) -> np.ndarray:
    """Values as numbers, NaN where they are missing or no numbers."""
    return pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _alone(
    field: LeadField,
    values: pd.Series,
    won: np.ndarray,
    fold: np.ndarray,
    ids: tuple[pd.Series, np.ndarray],
    order: np.ndarray,
) -> FieldAlone:
    numbers, is_number = _numbers(values), field.kind in (Kind.NUMERIC, Kind.ORDER)
    filled = ~np.isnan(numbers) if is_number else values.notna().to_numpy()
    leads, converted, there, there_won = len(won), int(won.sum()), int(filled.sum()), int((filled & won).sum())
    lost = leads - converted
    # The two shares of leads in which the field is filled in, among converted and other leads.
    apart = abs(there_won / converted - (there - there_won) / lost) if converted and lost else 0.0
    area = _area(field.kind, values, numbers, filled, won, fold)
    # Ids are compared as numbers where they are numbers, else by their letters.
    same_id = filled & (np.abs(numbers - ids[1]) < 0.5)
    if not is_number:
        same_id |= filled & (values.astype("string") == ids[0]).fillna(False).to_numpy(bool)
    same_order = filled & (np.abs(numbers - order) < 0.5)
    return FieldAlone(
        name=field.name,
        kind=str(field.kind),
        known_at=field.known_at.name.lower(),
        leads=leads,
        won=converted,
        filled=there,
        won_filled=there_won,
        auc=area.auc,
        auc_error=area.error,
        auc_leads=area.leads,
        auc_missing=0.5 + apart / 2,
        distinct=int(values[filled].nunique()),
        copies_id=int(same_id.sum()) / there if there else 0.0,
        copies_order=int(same_order.sum()) / there if there else 0.0,
        follows_order=abs(_correlation(numbers, order)),
    )


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation where both are finite; 0 where one of them does not vary."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


@dataclass(frozen=True)
class _Area:
    """An area, its standard error, and the leads that both are of."""

    auc: float
    error: float
    leads: int

    @property
    def surely(self) -> float:
        """The area less two standard errors."""
        return self.auc - 2 * self.error


def _area(
    kind: Kind, values: pd.Series, numbers: np.ndarray, filled: np.ndarray, won: np.ndarray, fold: np.ndarray
) -> _Area:
    """The surest area that the field gives: by its value, either way round, and by its words out of fold.

    A field that is filled in for a few leads may order these without a fault by chance: such an area is large and not
    sure, and gives way to that of no knowledge at all.
    """
    areas = [_measured(0.5, won)]
    if kind is not Kind.CATEGORY:
        # Of ids, those that are no numbers come first among equals, by their letters.
        letters = pd.factorize(values[filled], sort=True)[0] if kind is Kind.ID else np.zeros(int(filled.sum()))
        number = np.nan_to_num(numbers[filled], nan=0.0, posinf=np.inf, neginf=-np.inf)
        place = np.unique(np.column_stack([number, letters]), axis=0, return_inverse=True)[1]
        by_value = rank_auc(place, won[filled])
        areas.append(_measured(max(by_value, 1 - by_value), won[filled]))
    if kind in (Kind.NUMERIC, Kind.CATEGORY):
        words = _twentieths(numbers) if kind is Kind.NUMERIC else pd.factorize(values)[0]
        # A share of converted leads below one half is chance, not knowledge: it counts one way only.
        areas.append(_measured(rank_auc(_rates_out_of_fold(words, won, fold), won), won))
    return max(areas, key=lambda area: area.surely)


def _measured(auc: float, won: np.ndarray) -> _Area:
    """An area on the leads `won` (n,)."""
    leads, converted = len(won), int(won.sum())
    return _Area(auc, auc_error(auc, converted, leads - converted), leads)


def _twentieths(numbers: np.ndarray) -> np.ndarray:
    """The twentieth (n,) of the numbers in which each lies, `_MISSING` for NaN."""
    there = numbers[~np.isnan(numbers)]
    if not len(there):
        return np.full(len(numbers), _MISSING)
    edges = np.unique(np.quantile(there, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    return np.where(np.isnan(numbers), _MISSING, np.searchsorted(edges, numbers, side="right"))


def _rates_out_of_fold(words: np.ndarray, won: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Share of converted leads (n,) among the leads of other folds with the same word, shrunk towards all leads'.

    `words` are numbers from `_MISSING` up.
    """
    cell = (words - _MISSING) * FOLDS + fold
    size = (int(words.max(initial=_MISSING)) - _MISSING + 1, FOLDS)
    count = np.bincount(cell, minlength=size[0] * FOLDS).reshape(size)
    hits = np.bincount(cell, weights=won, minlength=size[0] * FOLDS).reshape(size)
    others, hits_of_others = (total.sum(axis=1, keepdims=True) - total for total in (count, hits))
    rates = (hits_of_others + SMOOTHING * won.mean()) / (others + SMOOTHING)
    # Rounding keeps equal shares equal, so that they count as ties.
    return np.round(rates, 12).ravel()[cell]
