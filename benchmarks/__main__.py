"""make bench: batch and online scoring, the sweep, the cost of a training and the stream, each beside its peer.

LEADS_CSV names the real leads; without it a generated sample is used. One table over all parts comes last.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Annotated

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from benchmarks import original, stream
from benchmarks.batch import batch_table, on_one_thread
from benchmarks.batch_sizes import batch_size_table
from benchmarks.compiled import drawn_leads
from benchmarks.log_model import log_model_table
from benchmarks.measure import Timed
from benchmarks.online import online_table
from benchmarks.reasons import reasons_table
from benchmarks.report import Table, publish
from benchmarks.scaling import ROWS, model_tables, scaling_tables
from benchmarks.summary import summarise
from benchmarks.sweep import sweep_table
from benchmarks.workplace import Workplace, with_production, workplace
from features.contract import Contract
from features.stages import ForestParams
from pipelines.datasets import Prepared, load_prepared
from pipelines.score import ARROW_ROWS
from pipelines.session import build_session
from pipelines.tracking import connect
from serving.compiled.artifact import load_compiled
from serving.compiled.scorer import CompiledScorer
from serving.models import load_version
from serving.registry import ResolvedVersion, resolve

TRAININGS = 3


class Part(StrEnum):
    """What is measured together, in one run on one machine; each has its own files in benchmarks/results."""

    SWEEP = "sweep"
    BATCH = "batch"
    FOREST = "forest"
    REASONS = "reasons"
    LOG_MODEL = "log_model"
    SCALING = "scaling"
    MICRO_BATCH = "micro_batch"
    ONLINE = "online"
    TRAIN = "train"
    STREAM = "stream"


def main(
    parts: Annotated[str, typer.Option(help=f"{', '.join(Part)}: by commas")] = ",".join(Part),
    rows: Annotated[int, typer.Option(help="leads of the batch tables")] = 1_000_000,
    largest: Annotated[int, typer.Option(help="most leads of the cost curves")] = max(ROWS),
) -> None:
    """Measure each part, print its tables, and keep them in benchmarks/results/PART.md and .json, with pictures."""
    asked = [Part(word.strip()) for word in parts.split(",")]
    if Part.STREAM in asked:
        stream.need_jars()
    if set(asked) != {Part.STREAM}:
        with workplace() as place:
            _without_stream(place, asked, rows, largest)
    if Part.STREAM in asked:
        with workplace() as place:
            publish(Part.STREAM.value, stream.measure(place), {"leads": place.leads})
    print(summarise())


def _without_stream(place: Workplace, asked: Sequence[Part], rows: int, largest: int) -> None:
    """Measure and keep the parts that share one prepared workplace; the stream has one of its own."""
    spark = build_session(place.settings, "bench", spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS)
    with_production(spark, place)
    bench = Bench.of(spark, place)
    measures: dict[Part, Callable[[], list[Table]]] = {
        Part.SWEEP: lambda: sweep_table(bench.data.train, bench.contract),
        Part.BATCH: lambda: bench.batch(rows),
        Part.FOREST: bench.forest,
        Part.REASONS: bench.reasons,
        Part.LOG_MODEL: bench.log_model,
        Part.SCALING: lambda: bench.scaling(largest),
        Part.MICRO_BATCH: lambda: [batch_size_table(place, bench.leads, bench.contract, bench.scorer)],
        Part.ONLINE: bench.online,
        Part.TRAIN: lambda: [_training(place)],
    }
    for part, measure in measures.items():
        if part is Part.SCALING:
            spark.stop()  # what follows starts sessions and processes of its own
        if part in asked:
            publish(part.value, measure(), {"leads": place.leads})


@dataclass
class Bench:
    """What the parts measure on: leads, and the model in Production in both forms."""

    spark: SparkSession
    place: Workplace
    contract: Contract
    data: Prepared
    version: ResolvedVersion
    scorer: CompiledScorer
    peer: PipelineModel
    known: pa.Table
    leads: pa.Table

    @classmethod
    def of(cls, spark: SparkSession, place: Workplace) -> "Bench":
        """Load it all, and fit the original's pipeline, which is saved as `original-model` in the workplace."""
        contract, data = place.settings.contract(), load_prepared(spark, place.settings)
        version = resolve(connect(place.settings), place.settings.model_name)
        fields, params = contract.feature_set("available"), ForestParams()
        peer = original.fit(data.train, fields, contract.label.name, params)
        peer.write().overwrite().save(str(place.folder / "original-model"))
        known, test = (pq.read_table(f"{place.settings.prepared}/{side}") for side in ("train", "test"))
        leads = pa.concat_tables([known, test])
        return cls(spark, place, contract, data, version, load_compiled(version), peer, known, leads)

    def batch(self, rows: int) -> list[Table]:
        """Rows per second of every way, and on one thread beside the limits and scikit-learn."""
        model = load_version(self.spark, self.version)
        found = [
            batch_table(self.spark, self.leads, self.contract, model, self.peer, self.scorer, rows, kind)
            for kind in ("distinct", "repeated")
        ]
        distinct = drawn_leads(self.leads, self.contract, 100_000, distinct=True)
        alone = on_one_thread(distinct, self.scorer, self.known, self.contract.label.name)
        return [*found, Table("One thread, 100,000 distinct leads", alone)]

    def forest(self) -> list[Table]:
        """Cost over trees and depth."""
        return model_tables(self.spark, self.data.train, self.leads, self.contract, self.contract.label.name)

    def reasons(self) -> list[Table]:
        """Leads per second with reasons."""
        return [reasons_table(self.spark, self.leads, self.contract, self.scorer)]

    def log_model(self) -> list[Table]:
        """What logging the pipeline that `train` logs takes."""
        fields = self.contract.feature_set("available")
        return [log_model_table(self.spark, load_version(self.spark, self.version), fields, self.data.test)]

    def scaling(self, largest: int) -> list[Table]:
        """Cost over rows and cores."""
        load = partial(load_version, version=self.version)
        return scaling_tables(self.place.settings, self.leads, load, self.scorer, largest)

    def online(self) -> list[Table]:
        """One lead at a time."""
        one_by_one = self.leads.select(list(self.scorer.description.fields)).slice(0, 1000)
        uris = {"compiled": self.version.tags["compiled_uri"], "Spark": self.version.uri}
        load = partial(load_version, version=self.version)
        return [online_table(self.place, uris, self.scorer, one_by_one, load)]


def _training(place: Workplace) -> Table:
    """Seconds of `train` as a command, by part."""
    runs = [_one_training(place) for _ in range(TRAININGS)]
    times = {part: Timed(tuple(run[part] for run in runs)) for part in runs[0]}
    return Table(
        "train, from the command to the finished run",
        [{"part": part, "seconds": each.median, "spread": each.spread} for part, each in times.items()],
        [
            f"medians of {TRAININGS} runs, each a command in a process of its own; spread: shortest to longest",
            "leak_probe goes on beside the encoding of leads, measure beside log_model: each takes longer so",
        ],
    )


def _one_training(place: Workplace) -> dict[str, float]:
    start, wall = time.perf_counter(), time.time()
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
    begun, ended = newest.info.start_time / 1000 - wall, newest.info.end_time / 1000 - wall
    logged = {n.removesuffix("_seconds"): s for n, s in newest.data.metrics.items() if n.endswith("_seconds")}
    return {
        "start: imports, Java, session, reading": begun,
        **logged,
        "end: session and process": total - ended,
        "whole command": total,
        "outside of Spark's fits": total - logged["fit"] - logged["calibration"],
    }


if __name__ == "__main__":
    typer.run(main)
