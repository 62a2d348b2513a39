"""What scoring costs as leads, models and cores grow: rows to ten million, trees and depth, one core and two."""

import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from benchmarks.answers import check_in_spark, check_written
from benchmarks.batch import sklearn_times, transport
from benchmarks.compiled import VERSION, drawn_leads
from benchmarks.curves import Curve, Peak, of_java, of_workers
from benchmarks.measure import timed
from benchmarks.report import Table
from benchmarks.targets import TRANSPORT
from benchmarks.workplace import session
from features.contract import Contract
from features.stages import ForestParams, pipeline
from pipelines.settings import Settings
from serving.compiled.compiling import compile_saved
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.local import BATCH_ROWS, score_dataset
from serving.compiled.scorer import CompiledScorer, packed, unpacked
from serving.scoring import scored

IN_SPARK, ALONE, PIPELINE = "compiled, in Spark", "compiled, without Spark", "our pipeline in Spark"
PER_FILE = 500_000
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
WARM = 2_000_000
PIPELINE_ROWS = 1_000_000  # Spark's own pipeline is not measured beyond: it takes minutes
TREES, DEPTHS, MODEL_ROWS = (10, 30, 100, 300), (3, 5, 10, 15), 100_000
CORES, CORE_ROWS = (1, 2), 500_000


def scaling_tables(
    settings: Settings,
    leads: pa.Table,
    model: Callable[[SparkSession], PipelineModel],
    scorer: CompiledScorer,
    largest: int = max(ROWS),
) -> list[Table]:
    """Measure rows and cores, and draw both, in sessions of its own, into which `model` loads the Spark pipeline.

    After each size and number of cores the scores are held against each other; WrongAnswers where they differ.
    """
    contract, rows = settings.contract(), [n for n in ROWS if n <= largest]
    with tempfile.TemporaryDirectory(prefix="lead-scoring-bench-") as name:
        folder = Path(name)
        places = _write_all(folder, leads, contract, {*rows, CORE_ROWS})
        lines: dict[str, dict[int, float]] = {way: {} for way in (IN_SPARK, ALONE, PIPELINE, TRANSPORT)}
        memory: list[dict[str, Any]] = []
        with session(settings, "bench-scaling") as spark:  # from few leads to many: Java gives no memory back
            for count in rows:
                memory.append({"leads": count, **_memory(spark, places[count], contract, scorer)})
        with session(settings, "bench-scaling") as spark:
            loaded = model(spark)
            # Java has compiled what it runs for many leads: the sizes shall differ in nothing else.
            _saving(
                scored_by_compiled(spark.read.parquet(str(places[rows[-1]])).limit(WARM), scorer, VERSION, contract)
            )()
            for peaks, count in zip(memory, rows, strict=True):
                found, alone = _of_rows(spark, places[count], count, contract, loaded, scorer, folder)
                for way, seconds in found.items():
                    lines[way][count] = seconds / count * 1e6
                peaks["process without Spark"] = alone
        curve = Curve(
            "rows", "Cost of a lead over the leads of a batch", "distinct leads, 2 cores", "leads", "µs per lead", lines
        )
        cores = _cores(settings, places[CORE_ROWS], contract, model, scorer, folder)
    for each in (curve, cores):
        each.draw()
    return [curve.table(_level(lines)), Table("Largest memory while scoring (MB)", memory), cores.table()]


def model_tables(
    spark: SparkSession, train: DataFrame, leads: pa.Table, contract: Contract, label: str, seed: int = 42
) -> list[Table]:
    """What a lead costs over the size of the forest, by three ways on one thread or task, and the pictures.

    Each forest's compiled scores are held against Spark's first; WrongAnswers where they differ.
    """
    drawn = drawn_leads(leads, contract, MODEL_ROWS, distinct=True)
    known = pa.Table.from_pandas(train.toPandas(), preserve_index=False)
    with tempfile.TemporaryDirectory(prefix="lead-scoring-bench-") as name:
        pq.write_table(drawn, Path(name) / "leads.parquet")
        frame = spark.read.parquet(name).coalesce(1)
        found: dict[ForestParams, dict[str, float]] = {}

        def cost(params: ForestParams) -> dict[str, float]:
            if params not in found:
                found[params] = _of_forest(frame, train, known, drawn, contract, label, params)
            return found[params]

        curves = [
            _model_curve("trees", {n: cost(ForestParams(trees=n, seed=seed)) for n in TREES}, "depth 10"),
            _model_curve("depth", {n: cost(ForestParams(depth=n, seed=seed)) for n in DEPTHS}, "100 trees"),
        ]
    for curve in curves:
        curve.draw()
    return [curve.table() for curve in curves]


def _model_curve(what: str, costs: Mapping[int, Mapping[str, float]], about: str) -> Curve:
    ways = {way: {x: cost[way] for x, cost in costs.items()} for way in next(iter(costs.values()))}
    subject = f"{about}, {MODEL_ROWS:,} distinct leads, one thread; scikit-learn's features are encoded beforehand"
    return Curve(what, f"Cost of a lead over the forest's {what}", subject, what, "µs per lead", ways)


def _of_forest(
    frame: DataFrame,
    train: DataFrame,
    known: pa.Table,
    drawn: pa.Table,
    contract: Contract,
    label: str,
    params: ForestParams,
) -> dict[str, float]:
    model = pipeline(contract.feature_set("available"), params, label).fit(train)
    with tempfile.TemporaryDirectory() as name:
        model.write().overwrite().save(f"file://{name}/model")
        scorer = CompiledScorer(compile_saved(Path(name) / "model", contract.features))
    check_in_spark(frame, model, scorer, contract)
    batches = drawn.to_batches(max_chunksize=BATCH_ROWS)
    seconds = {
        "our pipeline in Spark": timed(_saving(scored(frame, model, VERSION, contract))).median,
        "compiled": timed(lambda: [scorer.score(batch) for batch in batches]).median,
        "scikit-learn": sklearn_times(scorer, known, drawn, label, params).median,
    }
    return {way: took / drawn.num_rows * 1e6 for way, took in seconds.items()}


def _of_rows(
    spark: SparkSession,
    place: Path,
    count: int,
    contract: Contract,
    model: PipelineModel,
    scorer: CompiledScorer,
    folder: Path,
) -> tuple[dict[str, float], float]:
    """Median seconds by way, and the largest memory (MB) of a process without Spark."""
    frame, runs = spark.read.parquet(str(place)), 3 if count > 100_000 else 9
    work = _saving(scored_by_compiled(frame, scorer, VERSION, contract))
    seconds = {
        IN_SPARK: timed(work, runs, warm=count < max(ROWS)).median,
        TRANSPORT: timed(_saving(transport(frame, scorer, contract)), runs, warm=count < max(ROWS)).median,
    }
    if count <= PIPELINE_ROWS:
        seconds[PIPELINE] = timed(_saving(scored(frame, model, VERSION, contract)), runs).median
    seconds[ALONE], alone = _alone(scorer, place, folder / "out", contract, runs)
    check_in_spark(frame, model, scorer, contract)
    check_written(f"{ALONE}, {count:,} leads", folder / "out", place, scorer, contract)
    return seconds, alone


def _memory(spark: SparkSession, place: Path, contract: Contract, scorer: CompiledScorer) -> dict[str, Any]:
    """The largest memory (MB) of Spark's processes while a folder of leads is scored."""
    work = _saving(scored_by_compiled(spark.read.parquet(str(place)), scorer, VERSION, contract))
    with of_java() as java, of_workers() as worker:
        work()
    return {"Spark's Python worker": worker.megabytes, "Spark's driver (JVM)": java.megabytes}


def _alone(scorer: CompiledScorer, place: Path, output: Path, contract: Contract, runs: int) -> tuple[float, float]:
    """Median seconds and largest memory (MB) of scoring without Spark, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    worker = context.Process(target=_score_alone, args=(other, packed(scorer), str(place), str(output), contract, runs))
    worker.start()
    watched = psutil.Process(worker.pid)
    with Peak(lambda: [watched]) as peak:
        seconds = mine.recv()
    worker.join()
    return statistics.median(seconds), peak.megabytes


def _score_alone(
    told: Connection, content: bytes, source: str, output: str, contract: Contract, runs: int, threads: int = 2
) -> None:
    scorer = unpacked(content)

    def work() -> int:
        return score_dataset(source, output, scorer, VERSION, contract, kind="benchmark", threads=threads)

    told.send(list(timed(work, runs).seconds))


def _cores(
    settings: Settings,
    place: Path,
    contract: Contract,
    model: Callable[[SparkSession], PipelineModel],
    scorer: CompiledScorer,
    folder: Path,
) -> Curve:
    ways: dict[str, dict[int, float]] = {way: {} for way in (PIPELINE, IN_SPARK, ALONE)}
    for cores in CORES:
        with session(settings, "bench-scaling", f"local[{cores}]") as spark:
            frame, loaded = spark.read.parquet(str(place)), model(spark)
            plans = {
                PIPELINE: scored(frame, loaded, VERSION, contract),
                IN_SPARK: scored_by_compiled(frame, scorer, VERSION, contract),
            }
            for way, plan in plans.items():
                ways[way][cores] = CORE_ROWS / timed(_saving(plan)).median
            check_in_spark(frame, loaded, scorer, contract)

        def alone(threads: int = cores) -> int:
            output = str(folder / "out")
            return score_dataset(str(place), output, scorer, VERSION, contract, kind="benchmark", threads=threads)

        ways[ALONE][cores] = CORE_ROWS / timed(alone).median
        check_written(f"{ALONE}, {cores} cores", folder / "out", place, scorer, contract)
    title = "Leads a second on one core and on two"
    return Curve("cores", title, f"{CORE_ROWS:,} distinct leads", "cores", "leads/s", ways)


def _saving(plan: DataFrame) -> Callable[[], None]:
    return plan.write.format("noop").mode("overwrite").save


def _write_all(folder: Path, leads: pa.Table, contract: Contract, sizes: set[int]) -> dict[int, Path]:
    """A folder of distinct leads for every size, in files of half a million, or two that are as large as each other.

    The larger folders share the files of the largest.
    """
    places, pool = {}, folder / "pool"
    pool.mkdir()
    for number in range(max(sizes) // PER_FILE):
        pq.write_table(_drawn(leads, contract, PER_FILE, number), pool / f"{number:03d}.parquet")
    for size in sizes:
        places[size] = folder / f"leads-{size}"
        places[size].mkdir()
        if size % PER_FILE == 0 and size > PER_FILE:
            for number in range(size // PER_FILE):
                os.link(pool / f"{number:03d}.parquet", places[size] / f"{number:03d}.parquet")
        else:
            for number in range(2):
                pq.write_table(_drawn(leads, contract, size // 2, number), places[size] / f"{number}.parquet")
    return places


def _drawn(leads: pa.Table, contract: Contract, rows: int, number: int) -> pa.Table:
    return drawn_leads(leads, contract, rows, distinct=True, seed=number, first=number * rows)


def _level(lines: Mapping[str, Mapping[int, float]]) -> Sequence[str]:
    """How far the cost of a lead strays from 100,000 leads on."""
    said = []
    for way, line in lines.items():
        costs = [cost for count, cost in line.items() if count >= 100_000]
        if len(costs) > 1:
            said.append(
                f"{way}, {100_000:,} to {max(line):,} leads: dearest / cheapest = {max(costs) / min(costs):.2f}"
            )
    return said
