"""The tables of `make bench-stream`: which loads there are, a row of each, and what may not be lost or doubled."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from benchmarks.kafka_load import Received
from benchmarks.report import Spread, Table
from benchmarks.workplace import Workplace

RATE, RELOAD_RATE = 1000, 500
EPOCH_SECONDS = 60
STEADY = {"micro-batch": 30.0, "real-time": 2.0 * EPOCH_SECONDS}  # two whole epochs, with the end of each
RATE_SECONDS = 30


def file_row(name: str, place: Workplace, times: Sequence[float], scores: Path) -> dict[str, Any]:
    """One row of the table from the milliseconds per batch; the first five warm up. Every lead must be there once."""
    ids = ds.dataset(scores, partitioning="hive", exclude_invalid_files=False).to_table(["ProspectID"])["ProspectID"]
    wanted = ds.dataset(place.folder / "data" / "stream").count_rows()
    found = len(ids.unique())
    return _row(name, Spread.of(times[5:]), wanted, len(ids), wanted - found, len(ids) - found, "ms per file and batch")


def _row(name: str, spread: Spread, sent: int, received: int, lost: int, doubled: int, what: str) -> dict[str, Any]:
    latency = {key: value for key, value in asdict(spread).items() if key != "n"}
    return {
        "what": name,
        **latency,
        "sent": sent,
        "received": received,
        "lost": lost,
        "doubled": doubled,
        "ms of": what,
    }


def _load_row(name: str, load: Received) -> dict[str, Any]:
    return _row(name, load.spread, load.sent, load.received, load.lost, load.doubled, "sent until received")


def lost_and_doubled(
    files: dict[str, Any],
    loads: dict[str, Received],
    rates: dict[str, dict[int, Received]],
    reloads: dict[str, Received],
) -> dict[str, tuple[int, int]]:
    """How many events ours lost and doubled, by load; what is late at a rate that is too high is not lost."""
    found = {files["what"]: (files["lost"], files["doubled"])}
    found |= {f"{mode}, {RATE:,}/s": (loads[mode].lost, loads[mode].doubled) for mode in STEADY}
    found |= {f"rates, {mode}, {r:,}/s": (0, load.doubled) for mode in rates for r, load in rates[mode].items()}
    return found | {f"{mode}, promotion": (load.lost, load.doubled) for mode, load in reloads.items()}


def stream_tables(
    place: Workplace,
    rows: list[dict[str, Any]],
    loads: dict[str, Received],
    rates: dict[str, dict[int, Received]],
    reloads: dict[str, Received],
) -> list[Table]:
    """The tables; `rows` are those of files: the original in both sessions, then ours."""
    title = f"Kafka to Kafka, {RATE:,} events/s"
    rows += [_load_row(f"{title}, {mode}", loads[mode]) for mode in STEADY]
    rows.append(_load_row(f"{title}, bare relay without Spark", loads["relay"]))
    p50 = {name: load.spread.p50 for name, load in loads.items()}
    ratio = [
        {"what": "files p50: original, plain session / ours", "times": rows[0]["p50"] / rows[2]["p50"]},
        {"what": "files p50: original, tuned session / ours", "times": rows[1]["p50"] / rows[2]["p50"]},
        {"what": "p50: micro-batch / real-time", "times": p50["micro-batch"] / p50["real-time"]},
        {"what": "p50: real-time / relay", "times": p50["real-time"] / p50["relay"]},
    ]
    highest = [
        {
            "mode": mode,
            "highest rate kept (events/s)": max((r for r, load in found.items() if load.keeps_up), default=0),
            "p50 there (ms)": next((v.spread.p50 for r, v in reversed(found.items()) if v.keeps_up), float("nan")),
            "tried": ", ".join(f"{r:,}" for r in found),
        }
        for mode, found in rates.items()
    ]
    reloaded = [
        {
            "mode": mode,
            "longest gap between two scored events (s)": float(load.gaps().max()),
            "sent": load.sent,
            "lost": load.lost,
            "without a version": load.unversioned,
            "doubled": load.doubled,
        }
        for mode, load in reloads.items()
    ]
    return [
        Table(
            "Latency of the stream (ms): 100 trees, depth 10, calibrated",
            rows,
            [
                f"{place.leads}; the original is not calibrated, and runs in a plain SparkSession, or in ours",
                f"an epoch of real-time mode lasts {EPOCH_SECONDS} s; it is measured from the second one on",
            ],
        ),
        Table("Ratios", ratio),
        Table(f"Highest rate without growing lag (loads of {RATE_SECONDS} s)", highest),
        Table(f"A promotion under load, {RELOAD_RATE} events/s", reloaded),
    ]
