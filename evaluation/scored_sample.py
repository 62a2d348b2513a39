"""Scored leads on the driver: a bounded sample as numpy arrays, for what resamples or sorts them many times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.curves import Floats
from evaluation.samples import bounded
from features.splits import GROUP
from features.stages import positive_probability, served_probability

LIMIT = 100_000
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScoredSample:
    """Leads with a label, a group and the probabilities that one or several models gave them; arrays of shape (n,).

    `groups` numbers the groups of repeated leads from 0. `total` is how many leads the sample was taken from.
    """

    labels: NDArray[np.int8]
    groups: Codes
    scores: Mapping[str, Floats]
    words: Mapping[str, NDArray[np.object_]]
    total: int

    @property
    def n(self) -> int:
        """Leads in the sample."""
        return len(self.labels)

    def only(self, leads: NDArray[np.bool_]) -> "ScoredSample":
        """The leads for which `leads` (shape (n,)) is true; groups keep their numbers."""
        return ScoredSample(
            self.labels[leads],
            self.groups[leads],
            {name: values[leads] for name, values in self.scores.items()},
            {name: values[leads] for name, values in self.words.items()},
            self.total,
        )


def score_with(models: Mapping[str, PipelineModel], leads: DataFrame, served: bool = False) -> DataFrame:
    """Add to `leads` one column per model, named as in `models`: the forest's probability of conversion, 0 to 1.

    With `served` it is the probability that the model serves: calibrated, where the model has that stage.

    All models score the same rows in one plan, so that their scores pair without a join.
    """
    scored, columns = leads, [*leads.columns]
    for name, model in models.items():
        output = model.transform(scored.select(*columns))
        probability = served_probability(output.columns) if served else positive_probability()
        scored = output.withColumn(f"__of_{name}", probability)
        columns.append(f"__of_{name}")
    kept = [F.col(c) for c in leads.columns]
    return scored.select(*kept, *(F.col(f"__of_{name}").alias(name) for name in models))


def collect_scored(
    scored: DataFrame, label: str, scores: Sequence[str], words: Sequence[str] = (), limit: int = LIMIT, seed: int = 0
) -> ScoredSample:
    """Bring at most about `limit` scored leads to the driver, whole groups at a time.

    `scored` carries `label` (0/1), `lead_group`, the probability columns `scores` and the text columns `words`. It
    should be cached, as it is counted first.
    """
    sample = bounded(scored, limit, seed=seed)
    columns = [F.col(label).cast("int"), F.col(GROUP), *(F.col(c) for c in (*scores, *words))]
    rows: Any = sample.leads.select(*columns).toPandas()
    groups = np.unique(rows[GROUP].to_numpy(), return_inverse=True)[1]
    return ScoredSample(
        rows[label].to_numpy(np.int8),
        groups.astype(np.int64),
        {name: rows[name].to_numpy(np.float64) for name in scores},
        {name: rows[name].to_numpy(object) for name in words},
        sample.total,
    )
