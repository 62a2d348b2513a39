"""Timing of work: the median of several runs, with their spread."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RUNS = 3


@dataclass(frozen=True)
class Timed:
    """Seconds of each run; the first run, which warms up, is not among them."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Fastest to slowest, as shares of the median."""
        return f"{min(self.seconds) / self.median:.2f}-{max(self.seconds) / self.median:.2f}"


def timed(work: Callable[[], Any], runs: int = RUNS, warm: bool = True) -> Timed:
    """Run `work` once to warm up, then `runs` times with the clock."""
    if warm:
        work()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return Timed(tuple(seconds))
