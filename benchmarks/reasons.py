"""Rates of reasons per lead (exact TreeSHAP by field), from a saved Spark model and a folder of leads.

    python -m benchmarks.reasons SPARKML_FOLDER LEADS_FOLDER [--rows 20000]

Leads are `distinct`: real ones with every time and page count moved a little, so that none is the same as another
to read, though some stay the same to the forest, and are explained once. One line per measurement, best of three, on
the wall clock and on the processor's own; two processes are what Spark's Python workers are on two cores.
"""

import argparse
import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.compiled import RUNS, Rate, drawn_leads, rate
from pipelines.settings import Settings
from serving.compiled.compiling import compile_saved
from serving.compiled.scorer import CompiledScorer, packed, unpacked

BATCH = 10_000
PROCESSES = 2


def batches(leads: pa.Table) -> list[pa.RecordBatch]:
    """Leads by the batch."""
    return list(leads.combine_chunks().to_batches(max_chunksize=BATCH))


def reason_rates(scorer: CompiledScorer, leads: pa.Table) -> list[Rate]:
    """Shares and points alone, then with words, on one thread; then leads that come one by one."""
    some = batches(leads)
    few = leads.slice(0, 50)
    return [
        rate("shares and points, one thread", leads.num_rows, lambda: [scorer.explain(b) for b in some]),
        rate("reasons in words, one thread", leads.num_rows, lambda: [scorer.reasons(b) for b in some]),
        rate("reasons, one lead at a time", 50, lambda: [scorer.reasons(few.slice(i, 1)) for i in range(50)]),
    ]


def in_processes(scorer: CompiledScorer, leads: pa.Table) -> float:
    """Leads a second of reasons in words by two processes, warm; best of three by the wall clock."""
    context, size = multiprocessing.get_context("spawn"), -(-leads.num_rows // PROCESSES)
    barrier, took = context.Barrier(PROCESSES + 1), []
    workers = [
        context.Process(target=_work, args=(packed(scorer), leads.slice(i * size, size), barrier))
        for i in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for _ in range(RUNS):
        barrier.wait()
        start = time.perf_counter()
        barrier.wait()
        took.append(time.perf_counter() - start)
    for worker in workers:
        worker.join()
    return leads.num_rows / min(took)


def off_by(scorer: CompiledScorer, leads: pa.Table) -> float:
    """The largest distance of base + shares from the forest's probability."""
    found = scorer.explain(leads)
    return float(np.abs(found.base + found.contributions.sum(axis=0) - found.probability).max())


def _work(content: bytes, leads: pa.Table, barrier: Barrier) -> None:
    scorer, mine = unpacked(content), batches(leads)
    scorer.reasons(mine[0])
    for _ in range(RUNS):
        barrier.wait()
        for batch in mine:
            scorer.reasons(batch)
        barrier.wait()


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("saved", type=Path)
    asked.add_argument("leads", type=Path)
    asked.add_argument("--rows", type=int, default=20_000)
    given, contract = asked.parse_args(), Settings().contract()
    scorer = CompiledScorer(compile_saved(given.saved, contract.features))
    leads = drawn_leads(pq.read_table(given.leads), contract, given.rows, distinct=True)
    encoded, load = scorer.encode(leads), os.getloadavg()[0]
    print(f"{given.rows:,} leads, {len(np.unique(encoded.key)):,} distinct to the forest; load average {load:.1f}")
    start = time.perf_counter()
    _ = scorer.explainer
    print(f"made in {time.perf_counter() - start:.1f} s; base + shares off by {off_by(scorer, leads):.1e} at most")
    for line in reason_rates(scorer, leads):
        print(line, flush=True)
    print(f"{'reasons in words, two processes':44s} {in_processes(scorer, leads):>12,.0f} rows/s", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
