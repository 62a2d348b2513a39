"""Permutation importance: what the AUC on test leads loses when one field's values are shuffled among the leads.

Breiman 2001, "Random forests"; Fisher, Rudin and Dominici 2019, "All models are wrong, but many are useful".
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.bootstrap import Interval
from evaluation.curves import Z_95, Floats
from evaluation.overrides import CHANGED, changed_value, with_changes
from evaluation.placements import Placements, placements, standard_error
from evaluation.samples import bounded
from evaluation.scored_sample import Codes
from features.contract import LeadField
from features.splits import GROUP
from features.stages import served_probability

REPEATS, SAMPLE, SCORED_ROWS = 3, 3000, 120_000


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
    model: PipelineModel,
    leads: DataFrame,
    fields: Sequence[LeadField],
    label: str,
    impurity: dict[str, float],
    repeats: int = REPEATS,
    seed: int = 0,
) -> ImportanceReport:
    """Shuffle each field `repeats` times on at most 3,000 leads, all in one Spark job (120,000 scored rows at most).

    `leads` carries the fields, the label and `lead_group`; `impurity` the shares beside which the losses are put. The
    interval holds the chance of the sample (DeLong's paired standard error over groups) and that of the shuffles. A
    field that another one repeats loses nothing by itself: read the two together.
    """
    sample = bounded(leads, min(SAMPLE, SCORED_ROWS // (max(len(fields), 1) * repeats + 1)), seed=seed)
    names = [f.name for f in fields]
    rows = sample.leads.select(F.xxhash64(*names, label, GROUP).alias("__hash"), label, GROUP, *names)
    # A fixed order, so that equal leads and seeds give equal shuffles.
    own = [tuple(r)[1:] for r in sorted(rows.collect(), key=lambda r: (r["__hash"], r[GROUP]))]
    labels, groups, scores = _scores(model, leads.sparkSession, own, rows.schema, fields, label, repeats, seed)
    base = placements(labels, scores["", 0])
    found = []
    for name in names:
        shuffled = [placements(labels, scores[name, repeat]) for repeat in range(repeats)]
        loss = _loss(base, shuffled, labels, groups)
        found.append(FieldImportance(name, loss, impurity.get(name, 0.0)))
    found.sort(key=lambda f: (-f.auc_loss.value, f.field))
    return ImportanceReport(base.auc, len(own), sample.total, repeats, tuple(found))


def _loss(base: Placements, shuffled: Sequence[Placements], labels: Any, groups: Codes) -> Interval:
    losses = [base.auc - s.auc for s in shuffled]
    mean = float(np.mean(losses))
    sampling = standard_error(labels, groups, base.shares - np.mean([s.shares for s in shuffled], axis=0))
    shuffling = np.std(losses, ddof=1) ** 2 / len(losses) if len(losses) > 1 else 0.0
    error = float(np.sqrt(sampling**2 + shuffling))
    return Interval(mean, mean - Z_95 * error, mean + Z_95 * error)


def _scores(
    model: PipelineModel,
    spark: Any,
    own: Sequence[tuple[Any, ...]],
    schema: Any,
    fields: Sequence[LeadField],
    label: str,
    repeats: int,
    seed: int,
) -> tuple[Any, Codes, dict[tuple[str, int], Floats]]:
    """Labels, groups, and per (field, repeat) the leads' scores; ("", 0) holds those of the leads as they are."""
    names, n = [f.name for f in fields], len(own)
    types = {f.name: f.dataType.simpleString() for f in schema.fields}
    lead_schema = "__i int, " + ", ".join(f"{name} {types[name]}" for name in names)
    numbered = spark.createDataFrame([(i, *row[2:]) for i, row in enumerate(own)], lead_schema)
    rng = np.random.default_rng(seed)
    draws = [(r, i, int(j)) for r in range(repeats) for i, j in enumerate(rng.permutation(n))]
    donors = numbered.select(F.col("__i").alias("__j"), *(F.col(m).alias(changed_value(m)) for m in names))
    drawn = spark.createDataFrame(draws, "__repeat int, __i int, __j int")
    shuffled = drawn.join(F.broadcast(numbered), "__i").join(F.broadcast(donors), "__j")
    wanted = F.explode(F.array(*(F.lit(name) for name in names))).alias("__field")
    changed = shuffled.select("*", wanted).withColumn(CHANGED, F.array("__field"))
    variants = with_changes(changed, fields, ["__field", "__repeat", "__i"])
    unchanged = numbered.select(F.lit("").alias("__field"), F.lit(0).alias("__repeat"), "__i", *names)
    scored = model.transform(variants.unionByName(unchanged))
    served = served_probability(scored.columns).alias("p")
    rows: Any = scored.select("__field", "__repeat", "__i", served).toPandas()
    scores: dict[tuple[str, int], Floats] = {}
    for (field, repeat), part in rows.groupby(["__field", "__repeat"]):
        scores[field, int(repeat)] = part.sort_values("__i")["p"].to_numpy(np.float64)
    labels = np.array([row[0] for row in own], np.int8)
    groups = np.unique([row[1] for row in own], return_inverse=True)[1].astype(np.int64)
    return labels, groups, scores
