"""What a loaded Spark forest weighs in a task, and what it predicts of the small leads."""

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from features.stages import forest_of


def in_a_task(spark: SparkSession, model: PipelineModel) -> int:
    """The bytes of the forest in a task."""
    jvm = spark._jvm
    serializer = jvm.org.apache.spark.SparkEnv.get().closureSerializer().newInstance()
    return serializer.serialize(forest_of(model)._java_obj, jvm.scala.reflect.ClassTag.Any()).limit()


def predictions(model: PipelineModel, leads: DataFrame) -> list[tuple]:
    """All numbers that a pipeline predicts, by the number of the lead."""
    rows = model.transform(leads).select("Number", "rawPrediction", "probability", "prediction").collect()
    return sorted((row["Number"], *row["rawPrediction"], *row["probability"], row["prediction"]) for row in rows)
