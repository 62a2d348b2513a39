"""Whether a version may serve: it is scored on a few leads before any lead of the stream meets it."""

import math
import random
from typing import Any

import pyarrow as pa
from pyspark.ml import PipelineModel
from pyspark.ml.feature import ImputerModel, StringIndexerModel
from pyspark.sql import DataFrame, SparkSession

from features.contract import Contract, Kind, LeadField
from features.driver_rows import driver_rows
from serving.errors import ServingError, UnfitVersion, one_line
from serving.registry import ResolvedVersion
from serving.scoring import input_columns, scored
from serving.stages import columns_of

LEADS = 48
WORDS_PER_FIELD = 8
SHARES_OF_MEAN = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SAME_SCORE = 1e-9


def probe(spark: SparkSession, model: PipelineModel, version: ResolvedVersion, contract: Contract) -> None:
    """Score 49 made-up leads, the last without any answer; UnfitVersion where the version must not serve.

    It must take only features of the contract, in the contract's types, and every score must be a finite probability;
    leads that differ in everything must not all get the same one.
    """
    refuse_other_columns(model, version, contract)
    try:
        scores = scored(probe_leads(spark, model, contract), model, version, contract)
        rows = scores.select("probability", "grade").collect()
    except ServingError:
        raise
    except Exception as error:  # whatever a stage raises, from Spark, from Java or from Py4J
        raise UnfitVersion(f"{_named(version)} fails on a lead: {one_line(error)}. {_REMEDY}") from error
    refuse_scores([row.probability for row in rows], version)


def refuse_other_columns(model: PipelineModel, version: ResolvedVersion, contract: Contract) -> None:
    """UnfitVersion where a version reads a column that is no feature of the contract, or a number as words."""
    known = {field.name: field for field in contract.features}
    foreign = [name for name in input_columns(model) if name not in known]
    if foreign:
        raise UnfitVersion(
            f"{_named(version)} takes {', '.join(foreign)}, which the contract {contract.name!r} does not have as a "
            f"feature. {_REMEDY}"
        )
    # Spark makes words of numbers and says nothing; each would be one that the model has not seen.
    numbers = [name for name in _words(model) if name in known and known[name].kind is not Kind.CATEGORY]
    if numbers:
        raise UnfitVersion(
            f"{_named(version)} takes {', '.join(numbers)} as words, which the contract {contract.name!r} has as "
            f"numbers. {_REMEDY}"
        )


def refuse_scores(probabilities: list[Any], version: ResolvedVersion) -> None:
    """UnfitVersion where a probability is no number from 0 to 1, or where all are the same."""
    wrong = [p for p in probabilities if p is None or not math.isfinite(p) or not 0 <= p <= 1]
    if wrong or not probabilities:
        raise UnfitVersion(
            f"{_named(version)} gives {wrong[0] if wrong else 'nothing'} as a probability "
            f"({len(wrong)} of {len(probabilities)} leads). {_REMEDY}"
        )
    if max(probabilities) - min(probabilities) < SAME_SCORE:
        raise UnfitVersion(
            f"{_named(version)} gives all of {len(probabilities)} different leads the probability "
            f"{probabilities[0]:.4f}. {_REMEDY}"
        )


def probe_leads(spark: SparkSession, model: PipelineModel, contract: Contract) -> DataFrame:
    """48 leads drawn, always alike, from numbers around a model's means and from the words that it knows; one empty."""
    means, words, draw = _means(model), _words(model), random.Random(0)
    fields = contract.features

    def answer(field: LeadField) -> float | str | None:
        if field.kind is Kind.CATEGORY:
            return draw.choice([*words.get(field.name, [])[:WORDS_PER_FIELD], "never seen before", None])
        number = draw.choice(SHARES_OF_MEAN) * means.get(field.name, 1.0)
        return min(max(number, field.limits.min), field.limits.max) if field.limits else number

    rows: list[tuple[float | str | None, ...]] = [
        (f"probe-{i}", *(answer(field) for field in fields)) for i in range(LEADS)
    ]
    rows.append(("probe-empty", *(None for _ in fields)))
    types = [(f.name, pa.string() if f.kind is Kind.CATEGORY else pa.float64()) for f in fields]
    return driver_rows(spark, rows, pa.schema([(contract.id.name, pa.string()), *types])).coalesce(1)


def _means(model: PipelineModel) -> dict[str, float]:
    """What a model puts in for a number that is missing, where it has an imputer."""
    found: dict[str, float] = {}
    for stage in model.stages:
        if isinstance(stage, ImputerModel):
            row = stage.surrogateDF.first()
            found |= {name: float(value) for name, value in (row.asDict() if row else {}).items() if value is not None}
    return found


def _words(model: PipelineModel) -> dict[str, list[str]]:
    """The categories that a model has seen, by field."""
    found: dict[str, list[str]] = {}
    for stage in model.stages:
        if isinstance(stage, StringIndexerModel):
            found |= dict(zip(columns_of(stage, "input"), map(list, stage.labelsArray), strict=True))
    return found


_REMEDY = "Train it on this contract's leads, and promote a version that passes."


def _named(version: ResolvedVersion) -> str:
    return f"{version.name} version {version.version}"
