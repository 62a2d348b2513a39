"""What a micro-batch of files costs over its size, ours beside the original's design."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.answers import check_alike, check_written, paired, scored_leads, written
from benchmarks.compiled import drawn_leads
from benchmarks.curves import Curve
from benchmarks.report import Spread, Table
from benchmarks.workplace import Workplace
from features.contract import Contract
from serving.compiled.scorer import CompiledScorer

SIZES, FILES, WARM = (10, 100, 1_000, 10_000, 100_000), 16, 5


def batch_size_table(place: Workplace, leads: pa.Table, contract: Contract, scorer: CompiledScorer) -> Table:
    """Median milliseconds of a micro-batch of one file, by leads in the file; draws the picture as well.

    `scorer` is that of Production, and the original's model lies saved as `original-model` in the workplace.
    WrongAnswers where a lead is not scored once, or ours is not the scorer's probability.
    """
    ways: dict[str, dict[int, float]] = {"ours, to the lake": {}, "original's design, our session": {}}
    for size in SIZES:
        folder = place.folder / f"files-{size}"
        (folder / "leads").mkdir(parents=True)
        for number in range(FILES):
            drawn = drawn_leads(leads, contract, size, distinct=True, seed=number, first=number * size)
            pq.write_table(drawn, folder / "leads" / f"part-{number:03d}.parquet")
        for way, times in zip(ways, (_ours(place, folder), _original(place, folder)), strict=True):
            ways[way][size] = Spread.of(times[WARM:]).p50
        check_written(f"ours, {size:,} leads", folder / "ours", folder / "leads", scorer, contract)
        _check_original(folder, scorer, contract)
        shutil.rmtree(folder)
    about = f"one file a micro-batch, median of {FILES - WARM} after {WARM} that warm up; every lead was scored once"
    held = "ours gave the compiled scorer's probability to 1e-6"
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


def _check_original(folder: Path, scorer: CompiledScorer, contract: Contract) -> None:
    """The original's model is another one, not calibrated: its scores must go up with those of our forest."""
    way = "the original"
    both = paired(
        way, written(folder / "original", contract, "score"), scored_leads(folder / "leads", scorer, contract)
    )
    check_alike(way, both["found"].to_numpy(), both["wanted"].to_numpy())
