"""A small forest in Production, in a tracking store of its own, without running any entry point."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
from mlflow import MlflowClient
from pyspark.ml import PipelineModel
from pyspark.ml.feature import Bucketizer, IndexToString
from pyspark.ml.regression import IsotonicRegression
from pyspark.sql import DataFrame, SparkSession

from features.stages import ForestParams, pipeline, scored_columns
from pipelines.settings import Settings
from pipelines.tracking import connect, log_model, register_model
from tests.leads import SMALL, small_contract, small_leads

INF = float("inf")
# Of serving a version that has a compiled scorer, as the gate compares them.
WAYS = ["batch", "stream", "compiled", "compiled in Spark", "compiled without Spark", "pyfunc", "online"]


def small_model(spark: SparkSession, trees: int = 3) -> PipelineModel:
    """A few shallow trees on the small leads."""
    contract = small_contract()
    stages = pipeline(contract.feature_set("available"), ForestParams(trees=trees, depth=3), contract.label.name)
    return stages.fit(small_leads(spark))


def graded_model(spark: SparkSession) -> PipelineModel:
    """Ten trees on the small leads, calibrated and graded."""
    contract = small_contract()
    leads = small_leads(spark).cache()
    fields, label = contract.feature_set("available"), contract.label.name
    return with_grades(pipeline(fields, ForestParams(trees=10, depth=6), label).fit(leads), leads, label)


def with_grades(model: PipelineModel, leads: DataFrame, label: str) -> PipelineModel:
    """A forest with the stages of calibration and grades behind it."""
    scored = model.transform(leads).withColumn(label, leads[label].cast("double"))
    isotonic = IsotonicRegression(
        featuresCol="probability", featureIndex=1, labelCol=label, predictionCol="calibrated"
    ).fit(scored)
    grade = Bucketizer(inputCol="calibrated", outputCol="grade_index", splits=[-INF, 0.2, 0.5, 0.8, INF])
    words = IndexToString(inputCol="grade_index", outputCol="grade", labels=["D", "C", "B", "A"])
    return PipelineModel(stages=[*model.stages, isotonic, grade, words])


def scored_by_spark(model: PipelineModel, leads: DataFrame) -> DataFrame:
    """The small leads beside what a pipeline without grades serves for them."""
    scored = model.transform(leads)
    return scored.select(
        *(f.name for f in small_contract().feature_set("available")), *scored_columns(scored, "Bought")
    )


@contextmanager
def small_store(folder: Path) -> Iterator[Settings]:
    """Inside the block MLflow points at an empty store in `folder`, laid out as a Workplace, for the small leads."""
    (folder / "leads.yaml").write_text(SMALL, encoding="utf-8")
    settings = Settings(data=str(folder / "data"), contract_file=folder / "leads.yaml")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    try:
        artifacts = (folder / "artifacts").as_uri()
        connect(settings).create_experiment(settings.experiment, artifact_location=artifacts)
        yield settings
    finally:
        mlflow.set_tracking_uri(before)


@contextmanager
def served(spark: SparkSession, folder: Path, model: PipelineModel | None = None) -> Iterator[Settings]:
    """Inside the block MLflow points at a store in `folder`, laid out as a Workplace, with a model in Production."""
    with small_store(folder) as settings:
        number = register_small(spark, settings, settings.model_name, model or small_model(spark))
        connect(settings).set_registered_model_alias(settings.model_name, "Production", str(number))
        yield settings


def register_small(spark: SparkSession, settings: Settings, name: str, model: PipelineModel) -> int:
    """Log a model of the small leads and make a version of it; its number."""
    mlflow.set_experiment(settings.experiment)
    with mlflow.start_run():
        logged = log_model(model, small_contract().feature_set("available"), small_leads(spark, 10))
        return register_model(name, logged, {"feature_set": "available"})


def tear(settings: Settings, version: int) -> None:
    """Damage the trees of a version, so that it cannot be loaded."""
    stored = MlflowClient().get_model_version_download_uri(settings.model_name, str(version))
    for part in Path(stored.removeprefix("file://")).rglob("treesMetadata/*.parquet"):
        part.write_bytes(b"torn")


def write_files(leads: DataFrame, folder: Path, files: int, first: int = 0) -> None:
    """Add leads to a folder as Parquet files of equal size, whole, numbered from `first`."""
    aside = folder.with_name(f"{folder.name}-aside")
    leads.coalesce(1).write.parquet(str(aside))
    table = pq.read_table(aside)
    size = -(-table.num_rows // files)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(files):
        part = aside / f"part-{first + index:03d}.parquet"
        pq.write_table(table.slice(index * size, size), part)
        part.rename(folder / part.name)
    shutil.rmtree(aside)
