"""Candidate and Production in one plan on the same leads, and what is counted and timed of it."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from evaluation.gate_evidence import Cost, Probe
from evaluation.gate_measures import CANDIDATE, NEWEST, PRODUCTION
from features.contract import Contract, Kind, LeadField
from features.splits import GROUP
from features.stages import GRADE, served_probability

NOT_ANSWERED = "(not answered)"
TIMED_LEADS, ROUNDS = 2_000, 5


def scored_by(models: Mapping[str, PipelineModel], test: DataFrame, contract: Contract, share: float) -> DataFrame:
    """Test leads with the served probability of each model in a column of its name.

    Columns: the label, `lead_group`, `newest` (whether a lead is among the `share` of the leads that the order field
    puts last), one text column per field that the contract slices by, `grade` where the candidate gives one.
    """
    columns = {f"__{f.name}": slice_value(f) for f in contract.sliced}
    base = test.withColumns({**columns, f"__{NEWEST}": _is_newest(test, contract, share)})
    scored, kept = base, list(base.columns)
    for name, model in models.items():
        found = model.transform(scored.select(*kept))
        added = {f"__{name}": served_probability(found.columns)}
        if name == CANDIDATE and GRADE in found.columns:
            added["__grade"] = F.col(GRADE)
        scored, kept = found.withColumns(added), [*kept, *added]
    renamed = [F.col(c).alias(c.removeprefix("__")) for c in kept if c.startswith("__")]
    return scored.select(contract.label.name, GROUP, *renamed)


def slice_value(field: LeadField) -> Column:
    """The slice into which a lead falls by a field, as text: its word, or the bucket that holds its number."""
    value = F.col(field.name)
    if field.kind is Kind.CATEGORY:
        return F.coalesce(value, F.lit(NOT_ANSWERED))
    named = F.lit(f"under {field.buckets[0]:g}")
    for edge in field.buckets[:-1]:
        named = F.when(value >= edge, F.lit(f"from {edge:g}")).otherwise(named)
    return F.when(value.isNull(), F.lit(NOT_ANSWERED)).otherwise(named)


def count_scores(scored: DataFrame, column: str, sent: int) -> Probe:
    """How many of the leads that were sent came back, with a finite probability, with one in [0, 1]."""
    p = F.col(column)
    counts = (
        F.count(F.lit(1)),
        F.count_if(p.isNotNull() & ~F.isnan(p) & (F.abs(p) < float("inf"))),
        F.count_if(p.between(0, 1)),
    )
    returned, finite, in_range = scored.agg(*counts).collect()[0]
    return Probe(sent, returned, finite, in_range)


def scoring_cost(models: Mapping[str, PipelineModel], test: DataFrame, rounds: int = ROUNDS) -> Cost:
    """Milliseconds per 1,000 leads of each model: the median of `rounds` after one warm-up, the models in turns.

    The same leads, held in memory, are scored by each; a median of turns is moved neither by one slow round nor by
    a machine that is busier in the second half. Its floor is what Spark takes to start a job.
    """
    leads = test.limit(TIMED_LEADS).coalesce(1).cache()
    try:
        rows = leads.count()
        plans = {name: _probabilities(model, leads) for name, model in models.items()}
        seconds: dict[str, list[float]] = {name: [] for name in plans}
        for number in range(rounds + 1):
            for name, plan in plans.items():
                start = time.perf_counter()
                plan.write.format("noop").mode("overwrite").save()
                if number:
                    seconds[name].append(time.perf_counter() - start)
    finally:
        leads.unpersist()
    taken = {name: statistics.median(found) * 1e6 / max(rows, 1) for name, found in seconds.items()}
    return Cost(taken[CANDIDATE], taken.get(PRODUCTION))


def scores_of(leads: DataFrame, key: str, column: str) -> dict[Any, float | None]:
    """A number of every lead by its key, on the driver: for a sample of leads with distinct keys."""
    return {row[0]: row[1] for row in leads.select(key, column).collect()}


def largest_difference(one: Mapping[Any, float | None], other: Mapping[Any, float | None]) -> tuple[int, float]:
    """Leads on either side, and the largest difference of their numbers; infinite where a lead or its number lacks."""
    apart = [_apart(one.get(lead), other.get(lead)) for lead in one.keys() | other.keys()]
    return len(apart), max(apart, default=math.inf)


def _apart(one: float | None, other: float | None) -> float:
    gap = math.inf if one is None or other is None else abs(one - other)
    return math.inf if math.isnan(gap) else gap


def slice_columns(contract: Contract) -> Sequence[str]:
    """Names of the columns by which `scored_by` slices."""
    return [f.name for f in contract.sliced]


def _probabilities(model: PipelineModel, leads: DataFrame) -> DataFrame:
    scored = model.transform(leads)
    return scored.select(served_probability(scored.columns).alias("p"))


def _is_newest(test: DataFrame, contract: Contract, share: float) -> Column:
    order = F.col(contract.order.name).cast("double")
    cut = test.select(F.percentile(order, 1 - share)).collect()[0][0]
    return F.coalesce(order >= F.lit(cut), F.lit(False))
