"""Batch scoring: rows per second of every way, beside the original's pipeline and beside what the machine allows."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from sklearn.ensemble import RandomForestClassifier

from benchmarks.answers import CHECKED, check_alike, check_in_spark, check_peer, check_same_sum, check_written
from benchmarks.compiled import VERSION, drawn_leads
from benchmarks.measure import Timed, timed
from benchmarks.report import Table
from benchmarks.targets import ARROW, ORIGINAL, TRANSFORM, TRANSPORT
from features.contract import Contract
from features.stages import CALIBRATED, GRADE, ForestParams, positive_probability
from serving.compiled.description import Floats
from serving.compiled.encoding import matrix
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.layout import layout
from serving.compiled.local import BATCH_ROWS, score_dataset
from serving.compiled.onnx_export import export
from serving.compiled.onnx_run import open_session, votes
from serving.compiled.scorer import CHUNK, CompiledScorer
from serving.scoring import scored

FILES, THREADS = 4, 2


def batch_table(
    spark: SparkSession,
    leads: pa.Table,
    contract: Contract,
    model: PipelineModel,
    peer: PipelineModel,
    scorer: CompiledScorer,
    rows: int,
    kind: str,
) -> Table:
    """Measure `rows` leads drawn from `leads`; `kind` is distinct or repeated (see benchmarks.compiled)."""
    drawn = drawn_leads(leads, contract, rows, kind == "distinct")
    with tempfile.TemporaryDirectory(prefix="lead-scoring-bench-") as name:
        folder = Path(name)
        write_leads(drawn, folder / "leads")
        frame = spark.read.parquet(str(folder / "leads"))
        check_in_spark(frame, model, scorer, contract)
        plans = _in_spark(frame, contract, model, peer, scorer)
        ways: dict[str, Callable[[], Any]] = {
            name: plan.write.format("noop").mode("overwrite").save for name, plan in plans.items()
        }
        ways |= _alone(folder, contract, scorer)
        found = {way: timed(work, 1, warm=False) if way == TRANSFORM else timed(work) for way, work in ways.items()}
        check_written("compiled without Spark", folder / "out", folder / "leads", scorer, contract)
        check_same_sum(ARROW, plans[ARROW], folder / "out")
        check_peer(ORIGINAL, plans[ORIGINAL], plans[ARROW], contract)
    base = found[next(iter(found))].median
    table = [_row(way, times, rows, base) for way, times in found.items()]
    return Table(
        f"Batch scoring of {rows:,} {kind} leads, Parquet to nothing unless said",
        table,
        [
            f"medians of 3 runs after a warm one; one run alone of {TRANSFORM}",
            "spread: fastest to slowest",
            f"the compiled scores are our pipeline's to 1e-6 on {CHECKED:,} leads, those written are the compiled "
            "scorer's, those in Spark as many with the same sum; the original's go up and down with them",
        ],
    )


def _row(way: str, times: Timed, rows: int, base: float) -> dict[str, Any]:
    return {
        "way": way,
        "rows/s": rows / times.median,
        "times the original": base / times.median,
        "spread": times.spread,
    }


def _in_spark(
    frame: DataFrame, contract: Contract, model: PipelineModel, peer: PipelineModel, scorer: CompiledScorer
) -> dict[str, DataFrame]:
    lead, forest = contract.id.name, positive_probability().alias("probability")
    compiled = scored_by_compiled(frame, scorer, VERSION, contract)
    needed = frame.select(contract.id.name, *scorer.description.fields)
    return {
        ORIGINAL: peer.transform(frame).select(lead, forest, "prediction"),
        TRANSFORM: model.transform(frame).select(lead, CALIBRATED, GRADE),
        "our pipeline in Spark, as the stream runs it (calibrated, graded)": scored(frame, model, VERSION, contract),
        ARROW: compiled,
        TRANSPORT: transport(frame, scorer, contract),
        "limit: Parquet scan in Spark": needed,
    }


def _alone(folder: Path, contract: Contract, scorer: CompiledScorer) -> dict[str, Callable[[], Any]]:
    output, source = str(folder / "out"), str(folder / "leads")

    def local() -> None:
        score_dataset(source, output, scorer, VERSION, contract, kind="benchmark", threads=THREADS)

    def scan() -> None:
        for _ in ds.dataset(source).to_batches(columns=[contract.id.name, *scorer.description.fields]):
            pass

    return {
        f"compiled without Spark, Parquet to Parquet, {THREADS} threads": local,
        "limit: Parquet scan without Spark": scan,
    }


def on_one_thread(
    leads: pa.Table, scorer: CompiledScorer, known: pa.Table, label: str, rows: int = 100_000
) -> list[dict[str, Any]]:
    """Rows per second on one thread of the whole scorer, and of two forests on features that are encoded already."""
    part, inputs = leads.slice(0, rows), layout(scorer.compiled)
    columns = _features(scorer, part)
    session = open_session(export(scorer.compiled, inputs, 1), 1)
    forest = timed(lambda: [votes(session, columns[i : i + CHUNK]) for i in range(0, len(columns), CHUNK)])
    whole = timed(lambda: [scorer.score(b) for b in part.to_batches(max_chunksize=BATCH_ROWS)])
    ways = {
        "whole scorer: raw leads to calibrated scores and grades": whole,
        "ONNX Runtime alone, leads as they were drawn, features encoded beforehand": forest,
        "scikit-learn's forest of the same size, features encoded beforehand": sklearn_times(
            scorer, known, part, label, ForestParams()
        ),
    }
    return [{"what": w, "rows/s": part.num_rows / times.median, "spread": times.spread} for w, times in ways.items()]


def sklearn_times(scorer: CompiledScorer, known: pa.Table, leads: pa.Table, label: str, params: ForestParams) -> Timed:
    """Seconds in which scikit-learn's forest, fitted on `known` with the same settings, scores `leads` on one thread.

    Its features are those of `scorer`, encoded beforehand. WrongAnswers where it does not score like ours: a peer
    that has not learned the same would be no peer.
    """
    peer = RandomForestClassifier(params.trees, max_depth=params.depth, random_state=params.seed, n_jobs=2)
    peer.fit(_features(scorer, known).astype(np.float32), known[label].to_numpy())
    peer.n_jobs = 1
    columns = _features(scorer, leads).astype(np.float32)
    check_alike("scikit-learn", peer.predict_proba(columns)[:, 1], scorer.forest(scorer.encode(leads)))
    return timed(lambda: peer.predict_proba(columns))


def _features(scorer: CompiledScorer, leads: pa.Table) -> Floats:
    return matrix(scorer.encode(leads), np.arange(leads.num_rows), layout(scorer.compiled))


def transport(leads: DataFrame, scorer: CompiledScorer, contract: Contract) -> DataFrame:
    """What the scorer reads of the leads, to Python and back unchanged: no way through Arrow is faster."""
    needed = leads.select(contract.id.name, *scorer.description.fields)
    return needed.mapInArrow(_same, needed.schema)


def _same(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


def write_leads(leads: pa.Table, folder: Path) -> None:
    """Write leads as a few Parquet files of equal size into a new folder."""
    folder.mkdir()
    size = -(-leads.num_rows // FILES)
    for number in range(FILES):
        pq.write_table(leads.slice(number * size, size), folder / f"{number}.parquet")
