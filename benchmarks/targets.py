"""The project's targets of speed, in one place, and where in a part's tables each is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Rows of each table of a part, by its title; the first column names a row.
Tables = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Target:
    """What is asked of one figure, which `measured` finds: `least` or `most`, in the unit that `what` names."""

    what: str
    measured: Callable[[Tables], float]
    least: float | None = None
    most: float | None = None

    @property
    def asked(self) -> str:
        """The bound as a table shows it."""
        return f"at least {self.least:,.12g}" if self.least is not None else f"at most {self.most:,.12g}"

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps to the bounds; one that is not a number does not."""
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)

    def row(self, tables: Tables) -> dict[str, Any]:
        """The target, its figure and whether it is held; both are empty where the run did not measure it."""
        told: dict[str, Any] = {"target": self.what, "asked": self.asked}
        try:
            figure = self.measured(tables)
        except KeyError:
            return told | {"measured": "not in this run", "held": ""}
        return told | {"measured": figure, "held": "yes" if self.holds(figure) else "**no**"}


def target_rows(part: str, tables: Tables) -> list[dict[str, Any]]:
    """Every target of a part beside what its tables say; a part may have none."""
    return [target.row(tables) for target in TARGETS.get(part, ())]


def figure(title: str, row: str, column: str, over: str = "") -> Callable[[Tables], float]:
    """Finds a figure in the table whose title begins so; where `over` names a row, the ratio to its figure."""

    def find(tables: Tables) -> float:
        rows = named(tables, title)
        found = float(rows[row][column])
        return found / float(rows[over][column]) if over else found

    return find


def stray(title: str, column: str, first: int, last: int) -> Callable[[Tables], float]:
    """Finds the largest by the smallest figure of a column, from the row of number `first` to that of `last`."""

    def find(tables: Tables) -> float:
        rows = {int(name): row for name, row in named(tables, title).items()}
        if last not in rows:
            raise KeyError(last)
        figures = [float(row[column]) for number, row in rows.items() if first <= number <= last]
        return max(figures) / min(figures)

    return find


def named(tables: Tables, title: str) -> dict[str, Mapping[str, Any]]:
    """Rows of the table whose title begins so, by their first column; empty where there is no such table."""
    rows = next((rows for told, rows in tables.items() if told.startswith(title)), [])
    return {str(next(iter(row.values()))): row for row in rows}


MILLION, COST, ONE = "Batch scoring of 1,000,000 distinct", "Cost of a lead over the leads", "One lead at a time"
LATENCY, RATIOS, PROMOTION = "Latency of the stream", "Ratios", "A promotion under load"
ORIGINAL, TRANSFORM = "original pipeline in Spark", "our pipeline by PipelineModel.transform (calibrated, graded)"
ARROW, TRANSPORT = "compiled, in Spark by Arrow", "limit: Arrow transport in Spark, no scoring"
IN_SPARK, WITHOUT, SIZES = "compiled, in Spark", "compiled, without Spark", (100_000, 10_000_000)
ALONE = "compiled without Spark, Parquet to Parquet, 2 threads"
SERVE, MLFLOW, PYFUNC = "compiled, serve", "compiled, mlflow models serve", "Spark, mlflow models serve"
READY, GAP = "ready after (s)", "longest gap between two scored events (s)"
REAL_TIME = "Kafka to Kafka, 1,000 events/s, real-time"
PLAIN, TUNED = (f"files p50: original, {session} session / ours" for session in ("plain", "tuned"))
SLOWER, RELAY = "p50: micro-batch / real-time", "p50: real-time / relay"

# A target that is missed fails no run: machines differ.
TARGETS: dict[str, tuple[Target, ...]] = {
    "sweep": (
        Target(
            "sweep: times as fast as CrossValidator",
            figure("12 candidates", "sweep_cv's cross-validation", "times faster"),
            least=2,
        ),
        Target(
            "a candidate's metric beside the plain one's, in its deviations over folds",
            figure("The same metrics", "ours beside the plain one", "in its own deviations over folds"),
            most=1,
        ),
    ),
    "batch": (
        Target("1M leads in Spark: times the original", figure(MILLION, ARROW, "times the original"), least=5),
        Target("1M leads in Spark: share of bare Arrow", figure(MILLION, ARROW, "rows/s", TRANSPORT), least=0.5),
        Target("1M leads without Spark (leads/s)", figure(MILLION, ALONE, "rows/s"), least=600_000),
    ),
    "log_model": (Target("log_model (s)", figure("Our pipeline, logged", "log_model", "seconds"), most=3),),
    "scaling": (
        Target(
            "cost of a lead of 100,000 to 10M, in Spark: dearest / cheapest", stray(COST, IN_SPARK, *SIZES), most=1.15
        ),
        Target("the same without Spark: dearest / cheapest", stray(COST, WITHOUT, *SIZES), most=1.15),
    ),
    "online": (
        Target("one lead in process: p50 (ms)", figure(ONE, "compiled, in this process", "p50"), most=0.1),
        Target("one lead over HTTP, serve: p50 (ms)", figure(ONE, SERVE, "p50"), most=3),
        Target("one lead over HTTP, mlflow models serve: p50 (ms)", figure(ONE, MLFLOW, "p50"), most=3),
        Target("start, serve: times as fast as Spark's pyfunc", figure(ONE, PYFUNC, READY, SERVE), least=5),
        Target("start, mlflow models serve: times as fast as the pyfunc", figure(ONE, PYFUNC, READY, MLFLOW), least=5),
    ),
    "train": (
        Target("train outside of Spark's fits (s)", figure("train", "outside of Spark's fits", "seconds"), most=15),
        Target("log_model within train (s)", figure("train", "log_model", "seconds"), most=3),
    ),
    "stream": (
        Target("files, p50: original in a plain session / ours", figure(RATIOS, PLAIN, "times"), least=3),
        Target("files, p50: original in our session / ours", figure(RATIOS, TUNED, "times"), least=3),
        Target("real-time, 1,000 events/s: p50 (ms)", figure(LATENCY, REAL_TIME, "p50"), most=2),
        Target("real-time, 1,000 events/s: p99 (ms)", figure(LATENCY, REAL_TIME, "p99"), most=10),
        Target("real-time, p50: times the bare relay's", figure(RATIOS, RELAY, "times"), most=3),
        Target("p50: micro-batch / real-time", figure(RATIOS, SLOWER, "times"), least=100),
        Target("promotion, micro-batch: longest gap (s)", figure(PROMOTION, "micro-batch", GAP), most=1.5),
        Target("promotion, real-time: longest gap (s)", figure(PROMOTION, "real-time", GAP), most=1.5),
        Target("promotion, micro-batch: events lost", figure(PROMOTION, "micro-batch", "lost"), most=0),
        Target("promotion, real-time: events lost", figure(PROMOTION, "real-time", "lost"), most=0),
    ),
}
