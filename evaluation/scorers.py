"""How a bounded sample of leads is scored from the driver: by whatever gives a probability for each lead of a table."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from pyspark.ml import PipelineModel
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from evaluation.curves import Floats
from features.contract import Kind, LeadField
from features.stages import served_probability

# An Arrow table with a column per field, as `field_columns` gives them, to the served probability of each lead in the
# table's order: doubles from 0 to 1, shape (n,).
Scorer = Callable[[pa.Table], Floats]
_PLACE, _SERVED = "__place", "__served"


def field_columns(fields: Sequence[LeadField]) -> list[Column]:
    """The columns of fields in the types that a Scorer takes: numbers as double, words as string."""
    return [F.col(f.name).cast("double" if f.kind is Kind.NUMERIC else "string").alias(f.name) for f in fields]


def spark_scorer(model: PipelineModel, spark: SparkSession) -> Scorer:
    """The pipeline itself as a Scorer: a Spark job for each table."""

    def score(leads: pa.Table) -> Floats:
        numbered = spark.createDataFrame(leads.append_column(_PLACE, pa.array(np.arange(leads.num_rows))))
        output = model.transform(numbered)
        found = output.select(_PLACE, served_probability(output.columns).alias(_SERVED)).toArrow()
        probability = np.empty(leads.num_rows)
        probability[found[_PLACE].to_numpy()] = found[_SERVED].to_numpy()
        return probability

    return score
