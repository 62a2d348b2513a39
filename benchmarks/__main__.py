"""make bench: batch and online scoring, the sweep and the cost of a training, each beside its peer, in one run.

LEADS_CSV names the real leads; without it a generated sample is used. `make bench-stream` measures the stream.
"""

import subprocess
import sys
import time
from typing import Annotated, Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from benchmarks import original
from benchmarks.batch import batch_table, on_one_thread
from benchmarks.batch_sizes import batch_size_table
from benchmarks.compiled import drawn_leads
from benchmarks.online import online_table
from benchmarks.report import Table, publish
from benchmarks.scaling import ROWS, model_tables, scaling_tables
from benchmarks.sweep import sweep_table
from benchmarks.workplace import Workplace, with_production, workplace
from features.stages import ForestParams
from pipelines.datasets import load_prepared
from pipelines.score import ARROW_ROWS
from pipelines.session import build_session
from pipelines.tracking import connect
from serving.compiled.artifact import load_compiled
from serving.models import load_version
from serving.registry import resolve


def main(
    rows: Annotated[int, typer.Option(help="leads of the batch tables")] = 1_000_000,
    largest: Annotated[int, typer.Option(help="most leads of the cost curves")] = max(ROWS),
) -> None:
    """Measure everything, print the tables, and keep them in benchmarks/results/bench.md and .json, with pictures."""
    with workplace() as place:
        tables: list[Table] = []

        def add(*made: Table) -> None:
            tables.extend(made)
            for table in made:
                print(table.markdown(), flush=True)

        spark = build_session(place.settings, "bench", spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS)
        with_production(spark, place)
        contract, data = place.settings.contract(), load_prepared(spark, place.settings)
        version, label = resolve(connect(place.settings), place.settings.model_name), contract.label.name
        model, scorer = load_version(spark, version), load_compiled(version)
        peer = original.fit(data.train, contract.feature_set("available"), label, ForestParams())
        peer.write().overwrite().save(str(place.folder / "original-model"))
        known, test = (pq.read_table(f"{place.settings.prepared}/{side}") for side in ("train", "test"))
        leads = pa.concat_tables([known, test])
        add(sweep_table(data.train, contract))
        for kind in ("distinct", "repeated"):
            add(batch_table(spark, leads, contract, model, peer, scorer, rows, kind))
        distinct = drawn_leads(leads, contract, 100_000, distinct=True)
        add(Table("One thread, 100,000 distinct leads", on_one_thread(distinct, scorer, known, label)))
        add(*model_tables(spark, data.train, leads, contract, label))
        spark.stop()
        add(*scaling_tables(place.settings, leads, lambda spark: load_version(spark, version), scorer, largest))
        add(batch_size_table(place, leads, contract))
        one_by_one = leads.select(list(scorer.description.fields)).slice(0, 1000).to_pylist()
        uris = {"compiled": version.tags["compiled_uri"], "Spark": version.uri}
        add(online_table(place, uris, scorer, one_by_one), _training(place))
        publish("bench", tables, {"leads": place.leads})


def _training(place: Workplace) -> Table:
    """Seconds of `train` as a command, by part."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipelines.train"],
        env=place.environment,
        cwd=place.folder,
        check=True,
        capture_output=True,
    )
    total = time.perf_counter() - start
    client = mlflow.MlflowClient(place.tracking)
    experiment = client.get_experiment_by_name(place.settings.experiment)
    newest = client.search_runs([experiment.experiment_id], "tags.entry_point = 'train'", max_results=1)[0]
    parts = {name: value for name, value in newest.data.metrics.items() if name.endswith("_seconds")}
    fits = parts["fit_seconds"] + parts["calibration_seconds"]
    rows: list[dict[str, Any]] = [{"part": name.removesuffix("_seconds"), "seconds": s} for name, s in parts.items()]
    rows.append({"part": "everything else (start, reading, metrics, plots)", "seconds": total - sum(parts.values())})
    rows += [{"part": "whole command", "seconds": total}, {"part": "outside of Spark's fits", "seconds": total - fits}]
    return Table("train, from the command to the finished run", rows)


if __name__ == "__main__":
    typer.run(main)
