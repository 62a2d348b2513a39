"""What a micro-batch of files costs over its size, ours beside the original's design."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.compiled import drawn_leads
from benchmarks.curves import Curve
from benchmarks.report import Spread, Table
from benchmarks.workplace import Workplace
from features.contract import Contract

SIZES, FILES, WARM = (10, 100, 1_000, 10_000, 100_000), 16, 5


def batch_size_table(place: Workplace, leads: pa.Table, contract: Contract) -> Table:
    """Median milliseconds of a micro-batch of one file, by leads in the file; draws the picture as well.

    The original's model lies saved as `original-model` in the workplace.
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
        shutil.rmtree(folder)
    about = f"one file a micro-batch, median of {FILES - WARM} after {WARM} that warm up; every lead was scored once"
    curve = Curve("micro_batch", "Cost of a micro-batch over its size", about, "leads", "ms per micro-batch", ways)
    curve.draw()
    return curve.table()


def _ours(place: Workplace, folder: Path) -> list[float]:
    words = ["--source", str(folder / "leads"), "--sink", "parquet", "--available-now", "true"]
    words += ["--output", str(folder / "ours"), "--checkpoint", str(folder / "our-checkpoint")]
    said, _ = place.command("pipelines.stream", *words).communicate()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    _check(folder, "ours")
    return [line["batch_ms"] for line in lines if line["event"] == "batch"]


def _original(place: Workplace, folder: Path) -> list[float]:
    words = [str(folder / "leads"), str(place.folder / "original-model"), str(folder / "original")]
    words += [str(folder / "checkpoint"), str(folder / "times.json"), "tuned"]
    place.command("benchmarks.original", *words).communicate()
    _check(folder, "original")
    return list(json.loads((folder / "times.json").read_text()))


def _check(folder: Path, output: str) -> None:
    ids = ds.dataset(folder / output, exclude_invalid_files=False).to_table(["ProspectID"])["ProspectID"]
    wanted = ds.dataset(folder / "leads").count_rows()
    if not len(ids) == len(ids.unique()) == wanted:
        raise ValueError(f"{output}: {len(ids):,} scores of {len(ids.unique()):,} leads, {wanted:,} were sent")
