"""Impurity importance of a fitted forest, summed from one-hot slots back to the lead's own fields."""

from collections import defaultdict

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame

from features.stages import forest_of, source_field


def slot_names(encoded: DataFrame, column: str = "features") -> list[str]:
    """Names of the feature vector's slots in order, from the column's metadata."""
    attributes = encoded.schema[column].metadata["ml_attr"]["attrs"]
    slots = sorted((slot["idx"], slot["name"]) for kind in attributes.values() for slot in kind)
    return [name for _, name in slots]


def importance_by_field(model: PipelineModel, encoded: DataFrame) -> dict[str, float]:
    """Share of the impurity that each source field removes (sums to 1), largest first.

    `encoded` is any output of the model's encoder; only its schema is read.
    """
    forest = forest_of(model)
    shares: dict[str, float] = defaultdict(float)
    for name, value in zip(slot_names(encoded), forest.featureImportances.toArray(), strict=True):
        shares[source_field(name)] += float(value)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
