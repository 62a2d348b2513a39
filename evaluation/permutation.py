"""Permutation importance: what the AUC on test leads loses when one field's values are shuffled among the leads.

Breiman 2001, "Random forests"; Fisher, Rudin and Dominici 2019, "All models are wrong, but many are useful".
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.bootstrap import Interval
from evaluation.curves import Z_95, Floats
from evaluation.placements import Placements, placements, standard_error
from evaluation.samples import bounded
from evaluation.scored_sample import Codes
from evaluation.scorers import Scorer, field_columns
from features.contract import LeadField
from features.splits import GROUP

REPEATS, SAMPLE, SCORED_ROWS = 3, 3000, 120_000
_HASH, _LABEL = "__hash", "__label"


@dataclass(frozen=True)
class FieldImportance:
    """What one field is worth: the loss of AUC with its 95% interval, and its share of the impurity (0 to 1)."""

    field: str
    auc_loss: Interval
    impurity_share: float


@dataclass(frozen=True)
class ImportanceReport:
    """Importance of every field, the largest loss of AUC first; measured on `leads` of `total` test leads."""

    auc: float
    leads: int
    total: int
    repeats: int
    fields: tuple[FieldImportance, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data."""
        return asdict(self)


def permutation_importance(
    score: Scorer,
    leads: DataFrame,
    fields: Sequence[LeadField],
    label: str,
    impurity: dict[str, float],
    repeats: int = REPEATS,
    seed: int = 0,
) -> ImportanceReport:
    """Shuffle each field `repeats` times on at most 3,000 leads; `score` gets one table of 120,000 rows at most.

    `leads` carries the fields, the label and `lead_group`; `impurity` the shares beside which the losses are put. The
    interval holds the chance of the sample (DeLong's paired standard error over groups) and that of the shuffles. A
    field that another one repeats loses nothing by itself: read the two together.
    """
    sample = bounded(leads, min(SAMPLE, SCORED_ROWS // (max(len(fields), 1) * repeats + 1)), seed=seed)
    own, labels, groups = _collected(sample.leads, fields, label)
    scores = _scores(score, own, repeats, seed)
    base = placements(labels, scores["", 0])
    found = []
    for name in own.column_names:
        shuffled = [placements(labels, scores[name, repeat]) for repeat in range(repeats)]
        loss = _loss(base, shuffled, labels, groups)
        found.append(FieldImportance(name, loss, impurity.get(name, 0.0)))
    found.sort(key=lambda f: (-f.auc_loss.value, f.field))
    return ImportanceReport(base.auc, own.num_rows, sample.total, repeats, tuple(found))


def _loss(base: Placements, shuffled: Sequence[Placements], labels: Any, groups: Codes) -> Interval:
    losses = [base.auc - s.auc for s in shuffled]
    mean = float(np.mean(losses))
    sampling = standard_error(labels, groups, base.shares - np.mean([s.shares for s in shuffled], axis=0))
    shuffling = np.std(losses, ddof=1) ** 2 / len(losses) if len(losses) > 1 else 0.0
    error = float(np.sqrt(sampling**2 + shuffling))
    return Interval(mean, mean - Z_95 * error, mean + Z_95 * error)


def _collected(leads: DataFrame, fields: Sequence[LeadField], label: str) -> tuple[pa.Table, Any, Codes]:
    """The leads' fields, labels and groups, in an order that depends on the leads alone."""
    names = [f.name for f in fields]
    own = F.xxhash64(*names, label, GROUP).alias(_HASH)
    keyed = leads.select(own, F.col(label).cast("byte").alias(_LABEL), GROUP, *field_columns(fields))
    rows = keyed.toArrow().sort_by([(_HASH, "ascending"), (GROUP, "ascending")])
    groups = np.unique(rows[GROUP].to_numpy(), return_inverse=True)[1].astype(np.int64)
    return rows.select(names), rows[_LABEL].to_numpy(), groups


def _scores(score: Scorer, own: pa.Table, repeats: int, seed: int) -> dict[tuple[str, int], Floats]:
    """Per (field, repeat) the leads' scores; ("", 0) holds those of the leads as they are."""
    rng, n = np.random.default_rng(seed), own.num_rows
    variants = {("", 0): own}
    for repeat in range(repeats):
        donors = own.take(pa.array(rng.permutation(n)))
        for i, name in enumerate(own.column_names):
            variants[name, repeat] = own.set_column(i, name, donors[name])
    scored = score(pa.concat_tables(variants.values()))
    return {key: scored[i * n : (i + 1) * n] for i, key in enumerate(variants)}
