"""The peer: a lead-scoring stream as small projects write it, from its public description.

A stage per column, the model's transform inside foreachBatch, Spark's default checkpoint manager. Run as a process:
`python -m benchmarks.original FILES MODEL OUTPUT CHECKPOINT TIMES SESSION`, where SESSION is `plain` (Spark's own
settings, as such a project leaves them) or `tuned` (those of our session, but for the checkpoint manager).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import Bucketizer, Imputer, OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.contract import Kind, LeadField
from features.stages import ForestParams, forest, positive_probability
from pipelines.session import build_session
from pipelines.settings import Settings

DEFAULT_MANAGER = "org.apache.spark.sql.execution.streaming.checkpointing.FileContextBasedCheckpointFileManager"


def stages(fields: Sequence[LeadField]) -> list[object]:
    """A bucketizer, an indexer and an encoder for each column of its own."""
    numeric = [f.name for f in fields if f.kind is Kind.NUMERIC]
    made: list[object] = [Imputer(strategy="mean", inputCols=numeric, outputCols=[f"{n}_imp" for n in numeric])]
    assembled = []
    for field in fields:
        name = field.name
        if field.kind is Kind.CATEGORY:
            made += [
                StringIndexer(inputCol=name, outputCol=f"{name}_idx", handleInvalid="keep"),
                OneHotEncoder(inputCol=f"{name}_idx", outputCol=f"{name}_ohe"),
            ]
            assembled.append(f"{name}_ohe")
        elif field.buckets:
            splits = [float("-inf"), *(b for b in field.buckets[1:] if b != float("inf")), float("inf")]
            made.append(
                Bucketizer(inputCol=f"{name}_imp", outputCol=f"{name}_bin", splits=splits, handleInvalid="keep")
            )
            assembled.append(f"{name}_bin")
        else:
            assembled.append(f"{name}_imp")
    return [*made, VectorAssembler(inputCols=assembled, outputCol="features", handleInvalid="keep")]


def fit(train: DataFrame, fields: Sequence[LeadField], label: str, params: ForestParams) -> PipelineModel:
    """The original's pipeline, fitted."""
    return Pipeline(stages=[*stages(fields), forest(params, label)]).fit(train)  # type: ignore[list-item]


def main(files: str, model_path: str, output: str, checkpoint: str, times: str, session: str) -> None:
    """Score every file of a folder, one a trigger, and write the milliseconds of each batch to `times`."""
    if session == "plain":
        spark = SparkSession.builder.appName("original").master("local[*]").getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
    else:
        manager = {"spark.sql.streaming.checkpointFileManagerClass": DEFAULT_MANAGER}
        spark = build_session(Settings(), "original", **{k.replace(".", "__"): v for k, v in manager.items()})
    model = PipelineModel.load(model_path)

    def score(batch: DataFrame, number: int) -> None:
        scored = model.transform(batch)
        scored = scored.withColumn("score", F.round(positive_probability() * 100, 1))
        scored.select("ProspectID", "score", "prediction").write.mode("append").parquet(output)

    schema = spark.read.parquet(files).schema
    leads = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(files)
    query = leads.writeStream.foreachBatch(score).option("checkpointLocation", checkpoint).trigger(availableNow=True)
    running, seen = query.start(), {}
    while not running.awaitTermination(2):
        seen |= _durations(running.recentProgress)
    seen |= _durations(running.recentProgress)
    Path(times).write_text(json.dumps([seen[number] for number in sorted(seen)]), encoding="utf-8")
    spark.stop()


def _durations(progress: Sequence[object]) -> dict[int, int]:
    return {
        p["batchId"]: p["durationMs"]["triggerExecution"]  # type: ignore[index]
        for p in progress
        if "addBatch" in p["durationMs"]  # type: ignore[index]
    }


if __name__ == "__main__":
    main(*sys.argv[1:7])
