"""What a forest loses without a field: small forests on features that are encoded once and cached."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyspark import inheritable_thread_target
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import VectorSlicer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.importance import slot_names
from features.contract import LeadField
from features.splits import fold_of
from features.stages import ForestParams, encoder_stages, forest, source_field

# Enough to order fields by what they add; a tenth of the work of the forest that is served.
SMALL_FOREST = ForestParams(trees=20, depth=6)
FOLDS, AT_A_TIME = 3, 2


@dataclass(frozen=True)
class ForestsWithout:
    """Areas of a small forest with all `fields`, and without each of some: on leads that it was not fitted on."""

    auc: float
    without: dict[str, float]
    trees: int = 0
    depth: int = 0
    fields: int = 0


def forests_without(
    leads: DataFrame, fields: Sequence[LeadField], left_out: Sequence[str], label: str, seed: int = 0
) -> ForestsWithout:
    """Fit one small forest on all `fields` and one without each field named in `left_out`.

    `leads` carries the fields, the label and `lead_group`, and should be bounded. One group in three is held out
    for the area; repeats of a lead stay on one side.
    """
    encoder = Pipeline(stages=encoder_stages(fields)).fit(leads)
    held = (fold_of(FOLDS, seed) == 0).alias("held")
    encoded = encoder.transform(leads).select("features", F.col(label).cast("double"), held).cache()
    try:
        slots = [source_field(slot) for slot in slot_names(encoded)]
        able = [name for name in left_out if any(slot != name for slot in slots)]
        work = inheritable_thread_target(leads.sparkSession)(lambda name: _area(encoded, slots, name, label))
        everything = _area(encoded, slots, None, label)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            areas = list(pool.map(work, able))
        without = dict(zip(able, areas, strict=True))
        return ForestsWithout(everything, without, SMALL_FOREST.trees, SMALL_FOREST.depth, len(fields))
    finally:
        encoded.unpersist()


def _area(encoded: DataFrame, slots: Sequence[str], name: str | None, label: str) -> float:
    """Area on the held-out leads of a forest that does not see the slots of the field `name`."""
    kept = [index for index, field in enumerate(slots) if field != name]
    sliced = encoded
    if len(kept) < len(slots):
        slicer = VectorSlicer(inputCol="features", outputCol="kept", indices=kept)
        sliced = slicer.transform(encoded).drop("features").withColumnRenamed("kept", "features")
    model = forest(SMALL_FOREST, label).fit(sliced.where(~F.col("held")))
    evaluator = BinaryClassificationEvaluator(labelCol=label, numBins=0)
    return float(evaluator.evaluate(model.transform(sliced.where(F.col("held")))))
