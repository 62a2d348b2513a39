"""Work for Spark beside what the caller does: one thread, in the order in which it was asked for."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, Protocol, TypeVar

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

P = ParamSpec("P")
T = TypeVar("T")


class Start(Protocol):
    """Hands work to the thread: a future of its result."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Future[T]:
        """Start `work(*args, **named)`, or queue it behind what was started before."""


@contextmanager
def beside(spark: SparkSession) -> Iterator[Start]:
    """Give a block a thread for work that neither logs nor draws, such as the jobs of metrics.

    The driver waits for Spark, and Spark for the driver, most of the time that small data takes: two things at a time
    take little longer than one. When the block ends, what runs is waited for; when it raises, what has not begun is
    left out.
    """
    pool = ThreadPoolExecutor(1)

    def start(work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Future[T]:
        return pool.submit(inheritable_thread_target(spark)(work), *args, **named)

    try:
        yield start
    finally:
        pool.shutdown(cancel_futures=True)
