"""The Spark ML stages of every model: one multi-column stage per kind, the same in training and in serving."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field
from pyspark.ml import Estimator, Pipeline, PipelineModel, Transformer
from pyspark.ml.classification import RandomForestClassificationModel, RandomForestClassifier
from pyspark.ml.feature import Bucketizer, Imputer, OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Kind, LeadField

# Columns that a calibrated, graded model adds behind the forest's own.
CALIBRATED, UNCALIBRATED, GRADE = "calibrated", "uncalibrated", "grade"
Impurity = Literal["gini", "entropy"]
Subset = Literal["auto", "sqrt", "log2", "onethird", "all"]


class ForestParams(BaseModel, frozen=True, extra="forbid"):
    """Settings of the random forest; names and ranges are those of Spark's RandomForestClassifier."""

    trees: int = Field(100, ge=1, le=2000, description="number of trees")
    depth: int = Field(10, ge=1, le=30, description="greatest depth of a tree")
    min_instances: int = Field(1, ge=1, description="fewest leads on either side of a split")
    feature_subset: Subset = Field("auto", description="features that a split may choose from")
    impurity: Impurity = Field("gini", description="what a split lowers")
    subsampling: float = Field(1.0, gt=0, le=1, description="share of the leads that each tree sees")
    seed: int = Field(42, ge=0, description="seed of sampling and of feature choice")


DEFAULT_FOREST = ForestParams()


def encoder_stages(fields: Sequence[LeadField]) -> list[Estimator[Any] | Transformer]:
    """Stages that turn a feature set into the vector `features`; every field of the set enters it.

    Missing numbers become the mean of the training leads; a missing or unseen category has a slot of its own.
    """
    numeric = [f.name for f in fields if f.kind is Kind.NUMERIC]
    category = [f.name for f in fields if f.kind is Kind.CATEGORY]
    bucketed = [f for f in fields if f.buckets]
    stages: list[Estimator[Any] | Transformer] = []
    if numeric:
        stages.append(Imputer(strategy="mean", inputCols=numeric, outputCols=[f"{n}__filled" for n in numeric]))
    if bucketed:
        stages.append(
            Bucketizer(
                splitsArray=[_open_ended(f.buckets) for f in bucketed],
                inputCols=[f"{f.name}__filled" for f in bucketed],
                outputCols=[f"{f.name}__bucket" for f in bucketed],
                handleInvalid="keep",
            )
        )
    if category:
        indexed, encoded = [f"{c}__index" for c in category], [f"{c}__onehot" for c in category]
        stages.append(StringIndexer(inputCols=category, outputCols=indexed, handleInvalid="keep"))
        stages.append(OneHotEncoder(inputCols=indexed, outputCols=encoded, handleInvalid="keep"))
    columns = [encoded_column(f) for f in fields]
    # "keep" lets a value that is missing after all reach the forest instead of ending the query.
    stages.append(VectorAssembler(inputCols=columns, outputCol="features", handleInvalid="keep"))
    return stages


def encoded_column(field: LeadField) -> str:
    """The column by which a field enters the feature vector."""
    if field.kind is Kind.CATEGORY:
        return f"{field.name}__onehot"
    return f"{field.name}__bucket" if field.buckets else f"{field.name}__filled"


def source_field(slot: str) -> str:
    """The lead field behind a slot of the feature vector, such as `City__onehot_Mumbai`."""
    return slot.split("__", 1)[0]


def forest(params: ForestParams, label: str) -> RandomForestClassifier:
    """An unfitted random forest on `features`."""
    return RandomForestClassifier(
        featuresCol="features",
        labelCol=label,
        numTrees=params.trees,
        maxDepth=params.depth,
        minInstancesPerNode=params.min_instances,
        featureSubsetStrategy=params.feature_subset,
        impurity=params.impurity,
        subsamplingRate=params.subsampling,
        seed=params.seed,
        cacheNodeIds=False,
        maxMemoryInMB=512,
    )


def pipeline(fields: Sequence[LeadField], params: ForestParams, label: str) -> Pipeline:
    """The whole unfitted pipeline: encoder and forest."""
    return Pipeline(stages=[*encoder_stages(fields), forest(params, label)])


def joined(encoder: PipelineModel, *fitted: Transformer) -> PipelineModel:
    """One servable pipeline of a fitted encoder and the fitted stages behind it: forest, calibration, grades."""
    return PipelineModel(stages=[*encoder.stages, *fitted])


def forest_of(model: PipelineModel) -> RandomForestClassificationModel:
    """The forest of a fitted pipeline, wherever it stands among the stages; LookupError where there is none."""
    for stage in model.stages:
        if isinstance(stage, RandomForestClassificationModel):
            return stage
    raise LookupError(f"no random forest among the stages {[type(s).__name__ for s in model.stages]}")


def params_of(model: RandomForestClassificationModel) -> ForestParams:
    """The settings that a fitted forest was grown with."""
    return ForestParams(
        trees=model.getNumTrees,
        depth=model.getMaxDepth(),
        min_instances=model.getMinInstancesPerNode(),
        feature_subset=model.getFeatureSubsetStrategy(),
        impurity=model.getImpurity(),
        subsampling=model.getSubsamplingRate(),
        seed=model.getSeed(),
    )


def encoder_of(model: PipelineModel) -> PipelineModel:
    """The stages of a fitted pipeline before its forest."""
    return PipelineModel(stages=model.stages[: model.stages.index(forest_of(model))])


def positive_probability() -> Column:
    """The forest's probability of conversion, 0 to 1, from its vector column `probability`."""
    return vector_to_array(F.col("probability"))[1]


def served_probability(columns: Sequence[str]) -> Column:
    """Probability of conversion, 0 to 1, that is served: calibrated where a model's output has that column."""
    return F.col(CALIBRATED) if CALIBRATED in columns else positive_probability()


def scored_columns(scored: DataFrame, label: str) -> list[Column]:
    """What the metrics read of a model's output: the label, the served probability (double), and the prediction."""
    served = served_probability(scored.columns)
    return [F.col(label), served.alias("probability"), (served >= 0.5).cast("double").alias("prediction")]


def _open_ended(edges: Sequence[float]) -> list[float]:
    """Bucket edges from minus to plus infinity: no number of a live lead lies outside them."""
    inner = [e for e in edges if abs(e) != float("inf")]
    lower = inner[1:] if edges[0] == inner[0] else inner
    upper = lower if edges[-1] == float("inf") else lower[:-1]
    return [float("-inf"), *upper, float("inf")]
