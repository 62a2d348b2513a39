"""Logging a fitted pipeline: ours beside plain mlflow.spark.log_model with the same signature and input example."""

import warnings
from collections.abc import Callable

import mlflow
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from benchmarks.answers import WrongAnswers
from benchmarks.measure import timed
from benchmarks.report import Table
from features.contract import LeadField
from features.stages import served_probability
from pipelines.tracking import input_example, log_model, model_signature
from serving.models import load_pipeline

COMPARED = 200


def log_model_table(
    spark: SparkSession, model: PipelineModel, fields: tuple[LeadField, ...], leads: DataFrame
) -> Table:
    """Seconds of both; what ours has logged must load and give the model's own probabilities."""
    logged: list[str] = []

    def ours() -> None:
        with mlflow.start_run():
            logged.append(log_model(model, fields, leads).uri)

    def plain() -> None:
        with mlflow.start_run(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = input_example(leads, fields)
            mlflow.spark.log_model(model, "model", signature=model_signature(fields), input_example=example)

    # Each in a run of its own: two models of one name in one run would share a folder.
    ways: dict[str, Callable[[], None]] = {"plain mlflow.spark.log_model": plain, "log_model": ours}
    found = {name: timed(work) for name, work in ways.items()}
    if _probabilities(load_pipeline(spark, logged[-1], "the logged model"), leads) != _probabilities(model, leads):
        raise WrongAnswers("the model that was logged gives other probabilities")
    slowest = found["plain mlflow.spark.log_model"].median
    rows = [
        {"way": name, "seconds": t.median, "spread": t.spread, "times faster": slowest / t.median}
        for name, t in found.items()
    ]
    return Table("Our pipeline, logged (a warm process)", rows)


def _probabilities(model: PipelineModel, leads: DataFrame) -> list[float]:
    scored = model.transform(leads.orderBy(*leads.columns).limit(COMPARED))
    return [row[0] for row in scored.select(served_probability(scored.columns)).collect()]
