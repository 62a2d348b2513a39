"""Calibration: a fitted stage that turns the forest's probability into the rate at which such leads convert."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyspark.ml.functions import array_to_vector
from pyspark.ml.regression import IsotonicRegression, IsotonicRegressionModel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from features.driver_rows import driver_rows
from features.splits import AGE, GROUP
from features.stages import CALIBRATED, positive_probability

_WEIGHT = "calibration_weight"
# A share of all leads: what came so much later weighs twice as much.
HALF_LIFE = 0.2


def centered_isotonic(scored: DataFrame, label: str) -> IsotonicRegressionModel:
    """Fit a stage `probability` (vector) -> `calibrated` (double, above 0 and below 1, never falling).

    `scored` has `label` (0/1), `lead_group`, the age of `age_of`, and the forest's `probability` of leads that the
    forest was not fitted on. Isotonic regression gives steps, on which leads tie; here each step is drawn together into
    its centre and the stage interpolates between the centres, so that leads keep their order (Oron and Flournoy 2017,
    "Centered isotonic regression"). A group of n leads that repeat each other weighs as much as the square root of n:
    its leads share one score, and whatever makes them convert says little of other leads with that score. A lead weighs
    half as much as one that came a fifth of all leads later: conversion drifts, and the next leads are nearest to the
    newest (docs/decisions/0007-calibration-and-grades-live-in-the-model.md has the figures). One imagined lead of the
    other class at either end (Laplace's rule of succession) keeps the ends away from 0 and 1: no finite sample shows
    that a lead is certain.
    """
    repeats = F.count(F.lit(1)).over(Window.partitionBy(GROUP))
    weight = (F.pow(F.lit(0.5), F.col(AGE) / HALF_LIFE) / F.sqrt(repeats)).alias(_WEIGHT)
    leads = scored.select("probability", F.col(label).cast("double").alias(label), weight)
    ends = leads.agg(
        F.max_by("probability", positive_probability()).alias("top"),
        F.min_by("probability", positive_probability()).alias("bottom"),
    ).collect()[0]
    imagined = [(ends["bottom"].toArray(), 1.0, 1.0), (ends["top"].toArray(), 0.0, 1.0)]
    stage = _isotonic(label)
    leads = leads.unionAll(_given(scored.sparkSession, imagined, label))
    held = F.sum(_WEIGHT)
    steps = (
        stage.fit(leads)
        .transform(leads)
        .groupBy(CALIBRATED)
        .agg((F.sum(positive_probability() * F.col(_WEIGHT)) / held).alias("centre"), held.alias("weight"))
        .orderBy("centre")
        .collect()
    )
    centres = [((1 - s["centre"], s["centre"]), s[CALIBRATED], s["weight"]) for s in steps]
    return stage.fit(_given(scored.sparkSession, centres, label))


def _given(spark: SparkSession, rows: Sequence[Sequence[Any]], label: str) -> DataFrame:
    """Rows of probability (two numbers, which become a vector), label and weight."""
    number = pa.float64()
    found = driver_rows(spark, rows, pa.schema({"probability": pa.list_(number), label: number, _WEIGHT: number}))
    return found.select(array_to_vector(F.col("probability")).alias("probability"), label, _WEIGHT)


def _isotonic(label: str) -> IsotonicRegression:
    return IsotonicRegression(
        featuresCol="probability", featureIndex=1, labelCol=label, weightCol=_WEIGHT, predictionCol=CALIBRATED
    )
