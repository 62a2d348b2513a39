"""Rates of the compiled scorer by part and by way of running it, from a saved Spark model and a folder of leads.

    python -m benchmarks.compiled SPARKML_FOLDER LEADS_FOLDER [--rows 200000] [--spark]

Prints one line per measurement: rows/s, the best of three, on the wall clock and on the processor's own clock
(which tells what a busy machine hides). `distinct` leads are the real ones with every time and page count moved a
little, so that none is the same as another; `repeated` ones are drawn from the real leads as they are.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.contract import Contract, Kind
from pipelines.score import ARROW_ROWS
from pipelines.session import build_session
from pipelines.settings import Settings
from serving.compiled.compiling import compile_saved
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.local import BATCH_ROWS, score_dataset
from serving.compiled.scorer import CompiledScorer
from serving.registry import ResolvedVersion
from serving.scoring import scored

VERSION = ResolvedVersion("benchmark", 1, "", {})
RUNS = 3


@dataclass(frozen=True)
class Rate:
    """Rows per second of one way of scoring: best of three by the wall clock, and by this process's own time."""

    name: str
    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.name:44s} {self.wall:>12,.0f} rows/s {self.cpu:>12,.0f} rows/cpu-s"


def rate(name: str, rows: int, work: Callable[[], Any]) -> Rate:
    """Measure `work`, which goes through `rows` leads."""
    wall, cpu = [], []
    for _ in range(RUNS):
        start, begun = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - begun)
    return Rate(name, rows / min(wall), rows / max(min(cpu), 1e-9))


def drawn_leads(
    leads: pa.Table, contract: Contract, rows: int, distinct: bool, seed: int = 0, first: int = 0
) -> pa.Table:
    """`rows` leads drawn from real ones, with ids from number `first` on; `distinct`: moved so that none repeats."""
    rng = np.random.default_rng(seed)
    table = leads.take(pa.array(rng.integers(0, leads.num_rows, rows))).combine_chunks()
    ids = pa.array([f"lead-{i:09d}" for i in range(first, first + rows)])
    table = table.set_column(table.schema.get_field_index(contract.id.name), contract.id.name, ids)
    if not distinct:
        return table
    for field in (f for f in contract.features if f.kind is Kind.NUMERIC and not f.buckets):
        values = table[field.name].to_numpy(zero_copy_only=False)
        moved = np.abs(values * rng.uniform(0.8, 1.25, rows) + rng.uniform(0, 0.01, rows))
        table = table.set_column(
            table.schema.get_field_index(field.name), field.name, pa.array(moved, from_pandas=True)
        )
    return table


def parts(scorer: CompiledScorer, leads: pa.Table, kind: str) -> list[Rate]:
    """Encoding, forest and the whole, on one thread and on two."""
    batches, rows = leads.to_batches(max_chunksize=BATCH_ROWS), leads.num_rows
    encoded = [scorer.encode(b) for b in batches]
    with ThreadPoolExecutor(2) as pool:
        return [
            rate(f"encode, one thread, {kind}", rows, lambda: [scorer.encode(b) for b in batches]),
            rate(f"forest, one thread, {kind}", rows, lambda: [scorer.forest(e) for e in encoded]),
            rate(f"whole, one thread, {kind}", rows, lambda: [scorer.score(b) for b in batches]),
            rate(f"whole, two threads, {kind}", rows, lambda: list(pool.map(scorer.score, batches))),
        ]


def one_lead(scorer: CompiledScorer, leads: pa.Table, calls: int = 2000) -> dict[str, float]:
    """Microseconds of `score_one` over real leads: p50 and p99."""
    rows = leads.select(list(scorer.description.fields)).slice(0, calls).to_pylist()
    took = []
    for row in rows:
        start = time.perf_counter()
        scorer.score_one(row)
        took.append((time.perf_counter() - start) * 1e6)
    return {"p50": float(np.percentile(took, 50)), "p99": float(np.percentile(took, 99))}


def local(scorer: CompiledScorer, leads: pa.Table, contract: Contract, kind: str, threads: int = 2) -> Rate:
    """Parquet to Parquet without Spark."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in", str(Path(folder) / "out")
        source.mkdir()
        for i, start in enumerate(range(0, leads.num_rows, 500_000)):
            pq.write_table(leads.slice(start, 500_000), source / f"{i:05d}.parquet")

        def work() -> int:
            return score_dataset(str(source), output, scorer, VERSION, contract, kind="benchmark", threads=threads)

        return rate(f"parquet to parquet, no Spark, {threads} threads, {kind}", leads.num_rows, work)


def in_spark(saved: Path, scorer: CompiledScorer, leads: pa.Table, settings: Settings, kind: str) -> list[Rate]:
    """Parquet to nowhere inside Spark: the compiled scorer through Arrow, and the Spark pipeline."""
    from pyspark.ml import PipelineModel

    spark = build_session(settings, "bench", spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS)
    contract = settings.contract()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(4):
            size = -(-leads.num_rows // 4)
            pq.write_table(leads.slice(i * size, size), Path(folder) / f"{i}.parquet")
        frame, model = spark.read.parquet(folder), PipelineModel.load(str(saved))
        plans = {
            "mapInArrow, compiled": scored_by_compiled(frame, scorer, VERSION, contract),
            "Spark pipeline": scored(frame, model, VERSION, contract),
        }
        found = []
        for name, plan in plans.items():
            found.append(rate(f"{name}, {kind}", leads.num_rows, plan.write.format("noop").mode("overwrite").save))
        spark.stop()
        return found


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("saved", type=Path)
    asked.add_argument("leads", type=Path)
    asked.add_argument("--rows", type=int, default=200_000)
    asked.add_argument("--spark", action="store_true")
    given, settings = asked.parse_args(), Settings()
    contract, real = settings.contract(), pq.read_table(given.leads)
    scorer = CompiledScorer(compile_saved(given.saved, contract.features))
    print("one lead, microseconds:", {k: round(v, 1) for k, v in one_lead(scorer, real).items()})
    for kind in ("distinct", "repeated"):
        leads = drawn_leads(real, contract, given.rows, kind == "distinct")
        for line in [*parts(scorer, leads, kind), local(scorer, leads, contract, kind)]:
            print(line, flush=True)
        if given.spark:
            for line in in_spark(given.saved, scorer, leads, settings, kind):
                print(line, flush=True)


if __name__ == "__main__":
    main()
