"""One table over all parts: ours beside each peer, and every target, from the numbers that the parts have kept.

`python -m benchmarks.summary` writes it, and the Markdown of every part, anew from the numbers that are kept, without a
run.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.report import RESULTS, Table, cell, render
from benchmarks.targets import (
    ALONE,
    ARROW,
    LATENCY,
    MILLION,
    MLFLOW,
    ONE,
    ORIGINAL,
    PYFUNC,
    READY,
    REAL_TIME,
    SERVE,
    TRANSFORM,
    TRANSPORT,
    Tables,
    named,
    target_rows,
)

NAME = "summary"


@dataclass(frozen=True)
class Comparison:
    """A figure of ours and a peer's of the same run: rows of a part's table whose title begins with `title`.

    `better` says whether more or less of the column is good.
    """

    what: str
    part: str
    title: str
    ours: str
    peer: str
    column: str
    better: str = "more"
    peers_column: str = ""

    def row(self, tables: Tables) -> dict[str, Any]:
        """Both figures, the spread of ours and how many times better it is; KeyError where they were not measured."""
        rows = named(tables, self.title)
        mine, other = rows[self.ours], rows[self.peer]
        ours, peers = float(mine[self.column]), float(other[self.peers_column or self.column])
        return {
            "what": self.what,
            "ours": ours,
            "spread": spread(mine, self.column),
            "peer": self.peer if not self.peers_column else self.peers_column,
            "peer's": peers,
            "spread of the peer's": spread(other, self.column),
            "times better": ours / peers if self.better == "more" else peers / ours,
        }


def spread(row: Mapping[str, Any], column: str) -> str:
    """What a row tells beside a median: of latencies the 99th percentile, else fastest to slowest as shares of it."""
    if column == "p50":
        return f"p99 {cell(row['p99'])}"
    return str(row.get("spread", ""))


THREAD, TREES, SIZE = "One thread", "Cost of a lead over the forest's trees", "Cost of a micro-batch over its size"
WHOLE = "whole scorer: raw leads to calibrated scores and grades"
SESSIONS = [f"files, original design, {session} session" for session in ("plain", "tuned")]
FILES, RELAY = "files, micro-batch", "Kafka to Kafka, 1,000 events/s, bare relay without Spark"
MICRO = "Kafka to Kafka, 1,000 events/s, micro-batch"
COMPARISONS = (
    Comparison("1M leads in Spark (leads/s)", "batch", MILLION, ARROW, ORIGINAL, "rows/s"),
    Comparison("1M leads in Spark (leads/s)", "batch", MILLION, ARROW, TRANSFORM, "rows/s"),
    Comparison("1M leads in Spark (leads/s)", "batch", MILLION, ARROW, TRANSPORT, "rows/s"),
    Comparison("1M leads without Spark (leads/s)", "batch", MILLION, ALONE, ORIGINAL, "rows/s"),
    Comparison(
        "1M leads without Spark (leads/s)", "batch", MILLION, ALONE, "limit: Parquet scan without Spark", "rows/s"
    ),
    *(
        Comparison("100,000 leads on one thread (leads/s)", "batch", THREAD, WHOLE, peer, "rows/s")
        for peer in (
            "ONNX Runtime alone, leads as they were drawn, features encoded beforehand",
            "scikit-learn's forest of the same size, features encoded beforehand",
        )
    ),
    *(
        Comparison(f"a lead by {n} trees (µs)", "forest", TREES, n, n, "compiled", "less", "scikit-learn")
        for n in ("10", "100", "300")
    ),
    Comparison(
        "12 candidates by 3 folds (s)",
        "sweep",
        "12 candidates",
        "sweep_cv's cross-validation",
        "plain CrossValidator over the whole pipeline",
        "seconds",
        "less",
    ),
    Comparison(
        "logging the model (s)",
        "log_model",
        "Our pipeline",
        "log_model",
        "plain mlflow.spark.log_model",
        "seconds",
        "less",
    ),
    *(
        Comparison(f"one lead over HTTP, {told} (ms)", "online", ONE, ours, PYFUNC, "p50", "less")
        for told, ours in (("serve", SERVE), ("mlflow models serve", MLFLOW))
    ),
    *(
        Comparison(f"{told}: first answer after (s)", "online", ONE, ours, PYFUNC, READY, "less")
        for told, ours in (("serve", SERVE), ("mlflow models serve", MLFLOW))
    ),
    *(
        Comparison(
            f"a micro-batch of a file of {int(n):,} leads (ms)",
            "micro_batch",
            SIZE,
            n,
            n,
            "ours, to the lake",
            "less",
            "original's design, our session",
        )
        for n in ("10", "1000", "100000")
    ),
    *(Comparison("a file and batch of the stream (ms)", "stream", LATENCY, FILES, s, "p50", "less") for s in SESSIONS),
    Comparison("an event in real-time mode (ms)", "stream", LATENCY, REAL_TIME, MICRO, "p50", "less"),
    Comparison("an event in real-time mode (ms)", "stream", LATENCY, REAL_TIME, RELAY, "p50", "less"),
)


def summarise() -> str:
    """Write results/summary.md and summary.json; the Markdown."""
    parts = dict(_parts())
    tables = [
        Table("Ours beside its peers, each pair in one run", list(_compared(parts)), list(_machines(parts))),
        Table("Targets", list(_targets(parts))),
    ]
    text = "\n".join(table.markdown() for table in tables)
    kept = {"machines": {part: found["machine"] for part, found in parts.items()}}
    kept |= {"tables": [asdict(table) for table in tables]}
    (RESULTS / f"{NAME}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{NAME}.md").write_text(text, encoding="utf-8")
    return text


def _parts() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem != NAME:
            yield path.stem, json.loads(path.read_text(encoding="utf-8"))


def _tables(kept: Mapping[str, Any]) -> Tables:
    return {table["title"]: table["rows"] for table in kept["tables"]}


def _compared(parts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row of every comparison that its part's run has measured."""
    for each in COMPARISONS:
        if each.part in parts:
            try:
                yield each.row(_tables(parts[each.part]))
            except KeyError:
                continue


def _targets(parts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part, kept in parts.items():
        yield from ({"part": part, **row} for row in target_rows(part, _tables(kept)))


def _machines(parts: Mapping[str, Any]) -> Iterator[str]:
    """Which parts were measured on what, those of one machine and day together."""
    of: dict[str, list[str]] = {}
    for part, kept in parts.items():
        of.setdefault(", ".join(f"{k} {v}" for k, v in kept["machine"].items()), []).append(part)
    for machine, names in of.items():
        yield f"{', '.join(names)}: {machine}"


if __name__ == "__main__":
    for part, _ in _parts():
        render(part)
    print(summarise())
