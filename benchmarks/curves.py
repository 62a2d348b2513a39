"""Cost curves: what a lead costs over rows, trees, depth and cores, as tables and pictures, and memory."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib.ticker as ticks
import psutil

from benchmarks.report import RESULTS, Table
from evaluation.look import BLUE, GREY, ORANGE, VERMILLION, clean, new_figure

COLOURS = (BLUE, VERMILLION, ORANGE, GREY)
SAMPLED_EVERY = 0.05  # seconds
WORKER = "pyspark."  # the module pyspark.daemon, of which workers are forks


@dataclass(frozen=True)
class Curve:
    """What something costs (`y`, in `unit`) by way, over `x`; `about` is the subject below the title."""

    name: str
    title: str
    about: str
    x: str
    unit: str
    ways: Mapping[str, Mapping[int, float]]

    def table(self, notes: Sequence[str] = ()) -> Table:
        """A row for every x, a column for every way; empty where a way was not measured there."""
        places = sorted({x for line in self.ways.values() for x in line})
        rows = [{self.x: x, **{way: line.get(x, "") for way, line in self.ways.items()}} for x in places]
        return Table(f"{self.title} ({self.unit})", rows, [self.about, *notes])

    def draw(self) -> Path:
        """The picture, as benchmarks/results/NAME.png; both axes are logarithmic."""
        figure = new_figure(self.title, self.about, max(map(len, self.ways.values())), "point")
        ax = clean(figure.add_subplot())
        for colour, (way, line) in zip(COLOURS, self.ways.items(), strict=False):
            ax.plot(list(line), list(line.values()), marker="o", color=colour, label=way, lw=2)
        ax.set(xscale="log", yscale="log", xlabel=self.x, ylabel=self.unit)
        ax.set_xticks(sorted({x for line in self.ways.values() for x in line}))
        ax.yaxis.set_major_locator(ticks.LogLocator(subs=(1.0, 2.0, 5.0)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(
                ticks.FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
            )
        ax.xaxis.set_minor_locator(ticks.NullLocator())
        ax.yaxis.set_minor_formatter(ticks.NullFormatter())
        ax.legend(frameon=False, fontsize=10)
        path = RESULTS / f"{self.name}.png"
        RESULTS.mkdir(exist_ok=True)
        figure.savefig(path)
        return path


class Peak:
    """The largest resident memory, in MB, of any one process that `watched` names, while the block runs."""

    def __init__(self, watched: Callable[[], Sequence[psutil.Process]]) -> None:
        self.megabytes = 0.0
        self._watched, self._over = watched, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLED_EVERY):
            for process in self._watched():
                try:
                    self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)
                except psutil.Error:
                    continue  # it has ended


def of_java() -> Peak:
    """Memory of this process's Spark driver."""
    return Peak(partial(_children, lambda process: process.name() == "java"))


def of_workers() -> Peak:
    """Memory of Spark's largest Python worker below this process."""
    return Peak(partial(_children, lambda process: any(word.startswith(WORKER) for word in process.cmdline())))


def _children(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if wanted(process):
                found.append(process)
        except psutil.Error:
            continue  # it has ended
    return found
