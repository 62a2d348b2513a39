"""What a forest loses without a field: small forests on a bounded sample of leads, one without each field."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import Column as SparkColumn

from features.contract import Kind, LeadField
from features.splits import fold_of

# Enough to order fields by what they add; a hundredth of the work of the forest that is served.
TREES, DEPTH, LEAST_LEADS = 20, 8, 5
HELD, FOLDS = "__held", 3


@dataclass(frozen=True)
class ForestsWithout:
    """Areas of a small forest with all `fields`, and without each of them: on leads that it was not fitted on."""

    auc: float
    without: dict[str, float]
    trees: int = 0
    depth: int = 0
    fields: int = 0


def held_out(seed: int = 0) -> SparkColumn:
    """Whether a lead is of the third of the groups that is held out; repeats of a lead stay on one side."""
    return (fold_of(FOLDS, seed) == 0).alias(HELD)


def forests_without(rows: pd.DataFrame, fields: Sequence[LeadField], label: str, seed: int = 0) -> ForestsWithout:
    """Fit one small forest on all `fields` and one without each of them; areas are of the leads held out.

    `rows` are leads with the fields, the label (0, 1) and the column `held_out`. Where a side has one class only, no
    forest is fitted and the area is 0.5.
    """
    seen, unseen = rows[~rows[HELD]], rows[rows[HELD]]
    sides = seen[label].to_numpy(), unseen[label].to_numpy()
    if any(len(np.unique(side)) < 2 for side in sides):
        return ForestsWithout(0.5, {}, fields=len(fields))
    columns = {f.name: _column(f, seen, unseen, label) for f in fields}
    names = list(columns) if len(columns) > 1 else []
    without = {name: _area([c for n, c in columns.items() if n != name], *sides, seed) for name in names}
    return ForestsWithout(_area(list(columns.values()), *sides, seed), without, TREES, DEPTH, len(fields))


Column = tuple[np.ndarray, np.ndarray]


def _column(field: LeadField, seen: pd.DataFrame, unseen: pd.DataFrame, label: str) -> Column:
    """A field's numbers on both sides, NaN where it is missing.

    Words are numbered by the share of converted leads among the seen ones with the word: a tree then finds the best
    two-fold division of the words by a threshold (Breiman et al. 1984), as Spark's forests do. A word that was not
    seen is as if missing.
    """
    if field.kind is Kind.NUMERIC:
        numbers = [pd.to_numeric(side[field.name]).to_numpy(np.float64) for side in (seen, unseen)]
    else:
        rates = seen.groupby(field.name)[label].mean().rank(method="first")
        numbers = [side[field.name].map(rates).to_numpy(np.float64) for side in (seen, unseen)]
    first, second = (np.where(np.isinf(n), np.sign(n) * np.finfo(np.float32).max, n) for n in numbers)
    return first, second


def _area(columns: Sequence[Column], seen: np.ndarray, unseen: np.ndarray, seed: int) -> float:
    """Area on the unseen leads of a forest that is fitted on the seen ones."""
    from sklearn.ensemble import RandomForestClassifier  # a second, which commands that probe nothing do without
    from sklearn.metrics import roc_auc_score

    forest = RandomForestClassifier(TREES, max_depth=DEPTH, min_samples_leaf=LEAST_LEADS, random_state=seed).fit(
        np.column_stack([first for first, _ in columns]), seen
    )
    scores = forest.predict_proba(np.column_stack([second for _, second in columns]))[:, 1]
    return float(roc_auc_score(unseen, scores))
