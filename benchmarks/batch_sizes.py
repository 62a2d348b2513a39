"""What a micro-batch of files costs over its size, ours beside the original's design."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.answers import ID, SCORE, check_scores, check_written, paired, written
from benchmarks.compiled import drawn_leads
from benchmarks.curves import Curve
from benchmarks.report import Spread, Table
from benchmarks.workplace import Workplace, session
from features.contract import Contract
from features.stages import positive_probability
from serving.compiled.scorer import CompiledScorer

SIZES, FILES, WARM = (10, 100, 1_000, 10_000, 100_000), 16, 5


def batch_size_table(place: Workplace, leads: pa.Table, contract: Contract, scorer: CompiledScorer) -> Table:
    """Median milliseconds of a micro-batch of one file, by leads in the file; draws the picture as well.

    `scorer` is that of Production, and the original's model lies saved as `original-model` in the workplace.
    WrongAnswers where a lead is not scored once, ours is not the scorer's probability, or the original's not its
    model's score in a batch.
    """
    ways: dict[str, dict[int, float]] = {"ours, to the lake": {}, "original's design, our session": {}}
    with session(place.settings, "bench-sizes") as spark:
        peer = PipelineModel.load(str(place.folder / "original-model"))
        for size in SIZES:
            folder = place.folder / f"files-{size}"
            (folder / "leads").mkdir(parents=True)
            for number in range(FILES):
                drawn = drawn_leads(leads, contract, size, distinct=True, seed=number, first=number * size)
                pq.write_table(drawn, folder / "leads" / f"part-{number:03d}.parquet")
            for way, times in zip(ways, (_ours(place, folder), _original(place, folder)), strict=True):
                ways[way][size] = Spread.of(times[WARM:]).p50
            check_written(f"ours, {size:,} leads", folder / "ours", folder / "leads", scorer, contract)
            _check_original(spark, folder, peer, contract)
            shutil.rmtree(folder)
    about = f"one file a micro-batch, median of {FILES - WARM} after {WARM} that warm up; every lead was scored once"
    held = "ours gave the compiled scorer's probability to 1e-6, the original its model's score in a batch"
    curve = Curve("micro_batch", "Cost of a micro-batch over its size", about, "leads", "ms per micro-batch", ways)
    curve.draw()
    return curve.table([held])


def _ours(place: Workplace, folder: Path) -> list[float]:
    words = ["--source", str(folder / "leads"), "--sink", "parquet", "--available-now", "true"]
    words += ["--output", str(folder / "ours"), "--checkpoint", str(folder / "our-checkpoint")]
    said, _ = place.command("pipelines.stream", *words).communicate()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return [line["batch_ms"] for line in lines if line["event"] == "batch"]


def _original(place: Workplace, folder: Path) -> list[float]:
    words = [str(folder / "leads"), str(place.folder / "original-model"), str(folder / "original")]
    words += [str(folder / "checkpoint"), str(folder / "times.json"), "tuned"]
    place.command("benchmarks.original", *words).communicate()
    return list(json.loads((folder / "times.json").read_text()))


def _check_original(spark: SparkSession, folder: Path, peer: PipelineModel, contract: Contract) -> None:
    """The original's stream must give every lead once the score that its model gives in a batch."""
    score = F.round(positive_probability() * 100, 1).alias(SCORE)
    wanted = peer.transform(spark.read.parquet(str(folder / "leads"))).select(F.col(contract.id.name).alias(ID), score)
    both = paired("the original", written(folder / "original", contract, "score"), wanted.toArrow())
    check_scores("the original", both["found"].to_numpy(), both["wanted"].to_numpy())
