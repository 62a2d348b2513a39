"""Proof that a compiled scorer gives what the Spark pipeline gives, lead by lead."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml import PipelineModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.blanks import BLANKS
from serving.compiled.description import CategoryInput
from serving.compiled.in_spark import Shipped, ship
from serving.compiled.scorer import CompiledScorer

TOLERANCE = 1e-6
SHOWN = 5
# Columns that hold what Spark gave.
PROBABILITY, GRADE = "__spark_probability", "__spark_grade"
LEAD = "__lead"


@dataclass(frozen=True)
class Parity:
    """How far the served probabilities lie apart over `rows` leads, and the leads that differ most."""

    rows: int
    max_difference: float
    grades_differ: int
    worst: list[dict[str, Any]] = field(default_factory=list)
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether every lead is within the tolerance (and there was one); NaN on one side only is a difference."""
        return self.rows > 0 and self.max_difference <= self.tolerance and self.grades_differ == 0


def parity(model: PipelineModel, compiled: CompiledScorer, leads: DataFrame, tolerance: float = TOLERANCE) -> Parity:
    """Score leads by both, and compare; `leads` carry the model's fields as prepared leads do.

    Spark gets words without the blanks around them, as `serving.scoring.scored` gives them to it.
    """
    names = compiled.description.fields
    words = {i.name for i in compiled.description.inputs if isinstance(i, CategoryInput)}
    given = [F.trim(F.col(name), F.lit(BLANKS)).alias(name) if name in words else F.col(name) for name in names]
    scored = model.transform(leads.select(*given, F.struct(*names).alias(LEAD)))
    # An uncalibrated model serves the forest's own probability.
    served = F.col("calibrated") if "calibrated" in scored.columns else vector_to_array(F.col("probability"))[1]
    grade = F.col("grade") if "grade" in scored.columns else F.lit(None).cast("string")
    both = scored.select(f"{LEAD}.*", served.alias(PROBABILITY), grade.alias(GRADE))
    shipped = ship(leads.sparkSession, compiled)
    parts = both.mapInArrow(_comparing(shipped, names), "rows long, gap double, grades long, worst string").collect()
    return _summed([part.asDict() for part in parts], tolerance)


def parity_with(scored: pa.Table, compiled: CompiledScorer, tolerance: float = TOLERANCE) -> Parity:
    """Compare with what Spark gave: leads with the model's fields, PROBABILITY (double) and GRADE (string)."""
    names = compiled.description.fields
    return _summed([_compared(batch, compiled, names) for batch in scored.to_batches() if batch.num_rows], tolerance)


def _summed(parts: Sequence[Mapping[str, Any]], tolerance: float) -> Parity:
    worst = sorted((row for p in parts for row in json.loads(p["worst"])), key=lambda row: -row["difference"])[:SHOWN]
    return Parity(
        sum(p["rows"] for p in parts),
        max((p["gap"] for p in parts), default=0.0),
        sum(p["grades"] for p in parts),
        worst,
        tolerance,
    )


def differences(spark: Any, compiled: Any) -> Any:
    """Absolute differences of two columns of probabilities; infinite where one alone is not a number."""
    gap = np.abs(spark - compiled)
    gap[np.isnan(gap)] = math.inf
    gap[np.isnan(spark) & np.isnan(compiled)] = 0.0
    return gap


def _comparing(shipped: Shipped, names: tuple[str, ...]) -> Any:
    def compare(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = shipped.load()
        for batch in batches:
            if batch.num_rows:
                yield pa.RecordBatch.from_pylist([_compared(batch, scorer, names)])

    return compare


def _compared(batch: pa.RecordBatch, scorer: CompiledScorer, names: tuple[str, ...]) -> dict[str, Any]:
    """Rows, the largest gap, how many grades differ, and the leads that differ most (as JSON)."""
    scores = scorer.score(batch)
    spark = np.array(batch.column(PROBABILITY).to_numpy(zero_copy_only=False), np.float64)
    gap = differences(spark, scores.probability)
    pairs = zip(batch.column(GRADE).to_pylist(), scores.grades().to_pylist(), strict=True)
    order = [int(i) for i in np.argsort(-gap)[:SHOWN] if gap[i] > 0]
    worst = [_described(batch, names, i, float(gap[i]), float(scores.probability[i])) for i in order]
    grades = sum(a != b for a, b in pairs)
    return {"rows": batch.num_rows, "gap": float(gap.max()), "grades": grades, "worst": json.dumps(worst)}


def _described(batch: pa.RecordBatch, names: tuple[str, ...], row: int, gap: float, found: float) -> dict[str, Any]:
    lead = {name: str(batch.column(name)[row].as_py())[:60] for name in names}
    return {"difference": gap, "spark": batch.column(PROBABILITY)[row].as_py(), "compiled": found, "lead": lead}
