"""Metrics of a scored DataFrame, computed in Spark; only aggregates of bounded size come to the driver."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from evaluation.curves import ScoreBins
from evaluation.errors import EvaluationError

EPSILON = 1e-15


class OneClassOnly(EvaluationError):
    """The leads to evaluate on all have the same label, or there are none."""


def evaluate(scored: DataFrame, label: str) -> dict[str, float]:
    """Metrics of `scored` (columns: `label` 0/1, `probability` 0..1 double, `prediction` 0/1).

    Returns auc_roc, auc_pr, accuracy, weighted_precision, weighted_recall, f1 (weighted), log_loss (nats), brier
    and rows. Weighted means: the average over both classes by their share, as Spark's MulticlassMetrics.
    OneClassOnly where the ROC is not defined.
    """
    rows = scored.select(F.col(label).cast("double").alias("label"), "probability", "prediction").cache()
    try:
        counted = _counts(rows)
        return {**_areas(rows), **_from_confusion(counted), **_losses(counted)}
    finally:
        rows.unpersist()


def score_bins(scored: DataFrame, label: str, score: str = "probability", bins: int = 1000) -> ScoreBins:
    """Histogram of the probability `score` by label in equal bins on [0, 1], for curves and plots."""
    return _as_bins(_binned(scored, label, F.lit("all"), score, bins), bins)


def score_bins_by(scored: DataFrame, label: str, part: str, score: str, bins: int = 1000) -> dict[str, ScoreBins]:
    """Such a histogram of the probability `score` for every value of the column `part`, which has few of them."""
    found: dict[str, list[Row]] = {}
    for row in _binned(scored, label, F.col(part), score, bins):
        found.setdefault(row["part"], []).append(row)
    return {value: _as_bins(rows, bins) for value, rows in found.items()}


def _binned(scored: DataFrame, label: str, part: Column, score: str, bins: int) -> list[Row]:
    """Per part and bin that holds leads: converted ones, all, and their summed scores."""
    bin_of = F.least(F.floor(F.col(score) * bins), F.lit(bins - 1)).cast("int")
    won, n = F.sum(F.col(label).cast("long")).alias("pos"), F.count(F.lit(1)).alias("n")
    grouped = scored.groupBy(part.alias("part"), bin_of.alias("bin")).agg(won, n, F.sum(score).alias("p"))
    return grouped.where(F.col("part").isNotNull() & F.col("bin").isNotNull()).collect()


def _as_bins(rows: Iterable[Row], bins: int) -> ScoreBins:
    positives, negatives, score_sum = np.zeros(bins, int), np.zeros(bins, int), np.zeros(bins)
    for row in rows:
        positives[row["bin"]], negatives[row["bin"]] = row["pos"], row["n"] - row["pos"]
        score_sum[row["bin"]] = row["p"]
    return ScoreBins(positives, negatives, score_sum)


def _counts(rows: DataFrame) -> dict[tuple[int, int], dict[str, float]]:
    """Per (label, prediction): rows, summed log loss and summed squared error."""
    clipped = F.least(F.greatest(F.col("probability"), F.lit(EPSILON)), F.lit(1 - EPSILON))
    hit = F.when(F.col("label") == 1, clipped).otherwise(1 - clipped)
    found = (
        rows.groupBy("label", "prediction")
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.sum(-F.log(hit)).alias("log_loss"),
            F.sum((F.col("probability") - F.col("label")) ** 2).alias("brier"),
        )
        .collect()
    )
    if len({row["label"] for row in found}) < 2:
        raise OneClassOnly(
            f"the leads to evaluate on hold {sum(row['n'] for row in found)} rows of one class only; "
            "both converted and not converted leads are needed. Prepare more leads, or another split."
        )
    return {(int(r["label"]), int(r["prediction"])): {k: r[k] for k in ("n", "log_loss", "brier")} for r in found}


def _areas(rows: DataFrame) -> dict[str, float]:
    # numBins=0: every distinct score is a threshold, so the areas are exact.
    evaluator = BinaryClassificationEvaluator(rawPredictionCol="probability", labelCol="label", numBins=0)
    evaluator._transfer_params_to_java()
    # Both areas from one sorting of the scores, which Spark's Python interface does not offer.
    found: Any = evaluator._java_obj.getMetrics(rows._jdf)  # type: ignore[union-attr]
    try:
        return {"auc_roc": found.areaUnderROC(), "auc_pr": found.areaUnderPR()}
    finally:
        found.unpersist()


def _from_confusion(counted: dict[tuple[int, int], dict[str, float]]) -> dict[str, float]:
    n = {key: cell["n"] for key, cell in counted.items()}
    total = sum(n.values())
    precision = recall = f1 = 0.0
    for c in (0, 1):
        actual = sum(v for (label, _), v in n.items() if label == c)
        predicted = sum(v for (_, prediction), v in n.items() if prediction == c)
        hits = n.get((c, c), 0)
        p, r = (hits / predicted if predicted else 0.0), (hits / actual if actual else 0.0)
        share = actual / total
        precision, recall = precision + share * p, recall + share * r
        f1 += share * (2 * p * r / (p + r) if p + r else 0.0)
    accuracy = sum(n.get((c, c), 0) for c in (0, 1)) / total
    return {
        "accuracy": accuracy,
        "weighted_precision": precision,
        "weighted_recall": recall,
        "f1": f1,
        "rows": float(total),
    }


def _losses(counted: dict[tuple[int, int], dict[str, float]]) -> dict[str, float]:
    total = sum(cell["n"] for cell in counted.values())
    return {name: sum(cell[name] for cell in counted.values()) / total for name in ("log_loss", "brier")}
