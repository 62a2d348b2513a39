"""Reasons per lead (exact TreeSHAP by field): leads per second, alone and in Spark, beside scoring without reasons.

Leads are `distinct`: real ones with every time and page count moved a little, so that none is the same as another
to read, though some stay the same to the forest, and are explained once.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from benchmarks.answers import WrongAnswers
from benchmarks.batch import write_leads
from benchmarks.compiled import VERSION, drawn_leads
from benchmarks.measure import Timed, timed
from benchmarks.report import Table
from features.contract import Contract
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.scorer import CompiledScorer

BATCH, ONE_BY_ONE = 10_000, 100
LARGEST_REST = 1e-6


def reasons_table(
    spark: SparkSession, leads: pa.Table, contract: Contract, scorer: CompiledScorer, rows: int = 20_000
) -> Table:
    """Measure `rows` leads drawn from `leads`; raises where shares and base do not add up to the probability."""
    drawn = drawn_leads(leads, contract, rows, distinct=True)
    rest = _rest(scorer, drawn)
    if not rest <= LARGEST_REST:
        raise WrongAnswers(f"base and shares are {rest:.1e} apart from the forest's probability")
    batches, few = drawn.combine_chunks().to_batches(max_chunksize=BATCH), drawn.slice(0, ONE_BY_ONE)
    with tempfile.TemporaryDirectory(prefix="lead-scoring-bench-") as name:
        folder = Path(name, "leads")
        write_leads(drawn, folder)
        frame = spark.read.parquet(str(folder))
        found = [
            _row("shares and points, one thread", timed(lambda: [scorer.explain(b) for b in batches]), rows),
            _row("reasons in words, one thread", timed(lambda: [scorer.reasons(b) for b in batches]), rows),
            _row("reasons, one lead at a time", timed(lambda: _one_by_one(scorer, few)), ONE_BY_ONE),
            _row("in Spark, scores and reasons", timed(lambda: _in_spark(frame, contract, scorer, True)), rows),
            _row("in Spark, scores alone", timed(lambda: _in_spark(frame, contract, scorer, False)), rows),
        ]
    distinct = len(np.unique(scorer.encode(drawn).key))
    notes = [
        "medians of 3 runs after a warm one; spread: fastest to slowest",
        f"{distinct:,} of the leads are distinct to the forest",
        f"base and shares are at most {rest:.0e} apart from the forest's probability",
    ]
    return Table(f"Reasons of {rows:,} leads", found, notes)


def _row(way: str, times: Timed, rows: int) -> dict[str, Any]:
    return {"way": way, "leads/s": rows / times.median, "spread": times.spread}


def _one_by_one(scorer: CompiledScorer, leads: pa.Table) -> None:
    for number in range(leads.num_rows):
        scorer.reasons(leads.slice(number, 1))


def _in_spark(leads: DataFrame, contract: Contract, scorer: CompiledScorer, reasons: bool) -> None:
    plan = scored_by_compiled(leads, scorer, VERSION, contract, reasons=reasons)
    plan.write.format("noop").mode("overwrite").save()


def _rest(scorer: CompiledScorer, leads: pa.Table) -> float:
    """The largest distance of base + shares from the forest's probability."""
    found = scorer.explain(leads)
    return float(np.abs(found.base + found.contributions.sum(axis=0) - found.probability).max())
