"""Every way in which a version is served, on the same leads, held against its Spark pipeline."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.gate_evidence import Parity
from evaluation.gate_scoring import largest_difference, scores_of
from features.contract import Contract
from features.stages import served_probability
from serving.compiled.artifact import ADDRESS, DIFFERENCE, DIFFERS, STATE, has_compiled, load_compiled
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.local import scored_batch
from serving.compiled.parity import parity
from serving.compiled.scorer import CompiledScorer
from serving.events import all_null
from serving.online import MOST_LEADS, Online
from serving.registry import ResolvedVersion
from serving.runtime.watch import Served
from serving.scoring import input_columns, scored, typed_features
from serving.sources import as_records, kafka_arrivals
from serving.version_plan import version_plan

Scores = Mapping[Any, float | None]
PROBABILITY = "probability"


def ways_of_serving(
    candidate: ResolvedVersion, model: PipelineModel, leads: DataFrame, contract: Contract
) -> list[Parity]:
    """Each way of serving against what `model` gives by itself: how many leads, and how far apart they are at most.

    `leads` are a sample of prepared ones with distinct ids, which is scored on the driver as well. By Spark: `batch`
    (score) and `stream` (the plan of the stream, on JSON events; it refuses a lead without any answer). By the compiled
    scorer, where the version has one: `compiled` (scores and grades), `compiled in Spark`, `compiled without Spark`,
    `pyfunc` (mlflow models serve, batch UDFs) and `online` (serve, from JSON to JSON; it refuses the same leads).
    """
    key = contract.id.name
    found = model.transform(leads)
    told = found.select(F.col(key).cast("string").alias(key), served_probability(found.columns).alias(PROBABILITY))
    reference = scores_of(told, key, PROBABILITY)
    sent = leads.where(~all_null([F.col(name) for name in input_columns(model)]))
    answered = {str(row[0]) for row in sent.select(key).collect()}
    arriving = kafka_arrivals(as_records(sent, contract))
    stream = version_plan(leads.sparkSession, arriving.schema, model, candidate, contract)(arriving)
    heard = {lead: score for lead, score in reference.items() if lead in answered}
    batch = scores_of(scored(leads, model, candidate, contract), key, PROBABILITY)
    return [
        Parity("batch", *largest_difference(reference, batch)),
        Parity("stream", *largest_difference(heard, scores_of(stream, key, PROBABILITY))),
        *_compiled(candidate, model, leads, contract, reference, heard),
    ]


def _compiled(
    candidate: ResolvedVersion,
    model: PipelineModel,
    leads: DataFrame,
    contract: Contract,
    reference: Scores,
    heard: Scores,
) -> Iterator[Parity]:
    """The ways that a compiled scorer serves by; a version that could not be compiled is served by Spark alone."""
    if candidate.tags.get(STATE) == DIFFERS:
        yield Parity("compiled", 1, float(candidate.tags[DIFFERENCE]))
    if not has_compiled(candidate):
        return
    scorer, key = load_compiled(candidate), contract.id.name
    told = parity(model, scorer, leads)
    # A grade that differs is a difference, however close the probabilities are.
    yield Parity("compiled", told.rows, 1.0 if told.grades_differ else told.max_difference)
    in_spark = scored_by_compiled(leads, scorer, candidate, contract)
    yield Parity("compiled in Spark", *largest_difference(reference, scores_of(in_spark, key, PROBABILITY)))
    lead = F.col(key).cast("string").alias(key)
    features = typed_features(leads.schema, scorer.description.fields, contract)
    table: pa.Table = leads.select(lead, *features).toArrow()
    for way, score in {"compiled without Spark": _local, "pyfunc": _pyfunc}.items():
        yield Parity(way, *largest_difference(reference, score(candidate, scorer, table, contract)))
    asked = table.filter(pc.is_in(table[key], pa.array(list(heard), pa.string())))
    yield Parity("online", *largest_difference(heard, _online(candidate, scorer, asked, contract)))


def _local(candidate: ResolvedVersion, scorer: CompiledScorer, leads: pa.Table, contract: Contract) -> Scores:
    batches = [
        scored_batch(batch, scorer, candidate, contract, datetime.now(UTC))
        for batch in leads.combine_chunks().to_batches()
    ]
    return {row[contract.id.name]: row[PROBABILITY] for batch in batches for row in batch.to_pylist()}


def _pyfunc(candidate: ResolvedVersion, scorer: CompiledScorer, leads: pa.Table, contract: Contract) -> Scores:
    served = mlflow.pyfunc.load_model(candidate.tags[ADDRESS])
    found = served.predict(leads.select(list(scorer.description.fields)).to_pandas())
    ids = leads.column(contract.id.name).to_pylist()
    return dict(zip(ids, map(float, found[PROBABILITY]), strict=True))


def _online(candidate: ResolvedVersion, scorer: CompiledScorer, leads: pa.Table, contract: Contract) -> Scores:
    """Answers of `serve`, without the connection; a request that it refuses has none."""
    answers, rows = Online(Served(candidate, scorer), contract), leads.to_pylist()
    found: dict[Any, float | None] = {}
    for start in range(0, len(rows), MOST_LEADS):
        code, said = answers.answer(json.dumps(rows[start : start + MOST_LEADS]).encode())
        given = json.loads(said)
        found |= {row[contract.id.name]: row.get(PROBABILITY, math.nan) for row in given} if code == 200 else {}
    return found
