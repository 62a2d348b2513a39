"""Compiled scoring inside Spark: Arrow batches to Python workers, each of which loads the scorer once."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkFiles
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.contract import Contract
from serving.compiled.reasons import COLUMN, SPARK_TYPE
from serving.compiled.scorer import CompiledScorer, packed, unpacked
from serving.registry import ResolvedVersion
from serving.scoring import typed_features

ROOT = Path(__file__).resolve().parents[2]
PACKAGES, CODE = ("features", "serving"), "lead_scoring_code.zip"
# One scorer per worker process: the newest, so that a long-lived worker does not gather them.
_LOADED: dict[int, CompiledScorer] = {}


@dataclass(frozen=True)
class Shipped:
    """A scorer that Spark has sent to its executors once (a broadcast); `load` opens it once per Python worker."""

    broadcast: Any
    number: int

    def load(self) -> CompiledScorer:
        """The scorer, on one thread: Spark's tasks are the parallel ones."""
        if self.number not in _LOADED:
            _LOADED.clear()
            _LOADED[self.number] = unpacked(self.broadcast.value)
        return _LOADED[self.number]


def ship(spark: SparkSession, scorer: CompiledScorer) -> Shipped:
    """Send a scorer and this project's code to the executors."""
    _ship_code(spark)
    broadcast = spark.sparkContext.broadcast(packed(scorer))
    return Shipped(broadcast, int(broadcast._jbroadcast.id()))


def scored_by_compiled(
    leads: DataFrame,
    compiled: CompiledScorer | Shipped,
    version: ResolvedVersion,
    contract: Contract,
    reasons: bool = False,
) -> DataFrame:
    """One row per lead, with the columns and types of `serving.scoring.scored`, by the compiled scorer.

    With `reasons` a column of that name follows `scored_at` (serving.compiled.reasons).

    Nothing runs until the result is read. A worker holds one Arrow batch at a time
    (spark.sql.execution.arrow.maxRecordsPerBatch rows). UnfitLeads names every missing or ill-typed column.
    """
    shipped = compiled if isinstance(compiled, Shipped) else ship(leads.sparkSession, compiled)
    names = (compiled.description if isinstance(compiled, CompiledScorer) else shipped.load().description).fields
    features = typed_features(leads.schema, names, contract)
    label = [contract.label.name] if contract.label.name in leads.columns else []
    lead = contract.id.name
    taken = leads.select(F.col(lead).cast("string").alias(lead), *label, *features)
    kept = taken.select(lead, *label).schema
    schema = f"{', '.join(f'`{f.name}` {f.dataType.simpleString()}' for f in kept)}, probability double, grade string"
    schema += f", {COLUMN} {SPARK_TYPE}" if reasons else ""
    found = taken.mapInArrow(_scoring(shipped, (lead, *label), reasons), schema)
    served = served_columns(F.col("probability"), F.col("grade"), version)
    return found.select(lead, *served, *([COLUMN] if reasons else []), *label)


def with_reasons(events: DataFrame, compiled: CompiledScorer | Shipped) -> DataFrame:
    """Events (serving.events), of a stream too, with a column `reasons`, null where an event was refused.

    The fields of a lead are in the contract's types there. The plan stays stateless: a row in, a row out.
    """
    shipped = compiled if isinstance(compiled, Shipped) else ship(events.sparkSession, compiled)
    schema = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in events.schema)
    return events.mapInArrow(_explaining(shipped), f"{schema}, {COLUMN} {SPARK_TYPE}")


def served_columns(probability: Column, grade: Column, version: ResolvedVersion) -> list[Column]:
    """What a scored lead carries beside its id and label, from the served probability (0 to 1) and the grade."""
    return [
        F.round(probability * 100, 1).alias("score"),
        probability.alias("probability"),
        (probability >= 0.5).cast("int").alias("prediction"),
        grade.alias("grade"),
        F.lit(version.version).cast("int").alias("model_version"),
        F.current_timestamp().alias("scored_at"),
    ]


def _scoring(shipped: Shipped, kept: tuple[str, ...], reasons: bool) -> Any:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = shipped.load()
        for batch in batches:
            scores = scorer.score(batch)
            columns = [batch.column(name) for name in kept] + [pa.array(scores.probability), scores.grades()]
            columns += [scorer.reasons(batch)] if reasons else []
            names = [*kept, "probability", "grade", *([COLUMN] if reasons else [])]
            yield pa.RecordBatch.from_arrays(columns, names)

    return score


def _explaining(shipped: Shipped) -> Any:
    def explain(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = shipped.load()
        for batch in batches:
            good = pc.is_null(batch.column("reason"))
            told = scorer.reasons(batch.filter(good))
            # A refused event takes no place among the explained ones: its index is null.
            place = pc.if_else(good, pc.subtract(pc.cumulative_sum(good.cast(pa.int64())), 1), None)
            yield pa.RecordBatch.from_arrays([*batch.columns, told.take(place)], [*batch.schema.names, COLUMN])

    return explain


def _ship_code(spark: SparkSession) -> None:
    """Give workers this project's packages: their working folder need not be the repository."""
    context: Any = spark.sparkContext
    if CODE in context._python_includes:
        return
    # Executors fetch it whenever they start, so it lives as long as the session: in the session's own folder.
    path = Path(SparkFiles.getRootDirectory()) / "packed" / CODE
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for package in PACKAGES:
            for source in sorted((ROOT / package).rglob("*.py")):
                archive.write(source, source.relative_to(ROOT))
    context.addPyFile(str(path))
