"""When the loop of a real-time query may be told to begin no other epoch: by Java's own threads, locks and stacks."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark import InheritableThread
from pyspark.sql import SparkSession

from serving.loop import Loop, waits_for_tasks
from serving.queries import Running


@pytest.fixture(scope="module")
def idle(spark: SparkSession) -> Any:
    """A thread of Java that runs no job."""
    return spark._jvm.java.lang.Thread.currentThread()


@pytest.fixture(scope="module")
def at_work(spark: SparkSession) -> Iterator[Any]:
    """A thread of Java that has sent off a task and waits for it, until the module's end."""
    group, found = "sleeper", []

    def work() -> None:
        found.append(spark._jvm.java.lang.Thread.currentThread())
        spark.sparkContext.setJobGroup(group, "sleeps", interruptOnCancel=True)
        with suppress(Py4JJavaError):  # it ends by being cancelled
            spark.sparkContext.parallelize([0], 1).foreach(lambda _: time.sleep(600))

    worker = InheritableThread(target=work)
    worker.start()
    wait_for(lambda: bool(found) and waits_for_tasks(found[0]))
    yield found[0]
    spark.sparkContext.cancelJobGroup(group)
    worker.join()


@pytest.fixture
def lock(spark: SparkSession) -> Any:
    """The lock of a query's progress."""
    return spark._jvm.java.util.concurrent.locks.ReentrantLock()


@pytest.fixture
def loop_of(spark: SparkSession, lock: Any):
    """Makes the loop of a thread, which is not told to end yet."""
    return lambda thread: Loop(spark._jvm.java.util.concurrent.atomic.AtomicReference("ACTIVE"), "ENDED", thread, lock)


def wait_for(holds) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_epoch_that_is_planned_is_not_marked_as_the_last(loop_of, idle):
    loop = loop_of(idle)
    assert not loop.mark_once_it_runs()
    assert loop.state.get() == "ACTIVE"


def test_an_epoch_whose_tasks_run_is_marked_as_the_last(loop_of, at_work):
    loop = loop_of(at_work)
    assert loop.mark_once_it_runs()
    assert loop.state.get() == "ENDED"


def test_a_loop_that_makes_progress_is_left_to_it(loop_of, at_work, lock):
    loop, held, done = loop_of(at_work), threading.Event(), threading.Event()

    def hold() -> None:
        lock.lock()
        held.set()
        done.wait()
        lock.unlock()

    holder = InheritableThread(target=hold)  # on a thread of Java's of its own
    holder.start()
    held.wait()
    assert not loop.mark_once_it_runs()
    assert loop.state.get() == "ACTIVE"
    done.set()
    holder.join()
    assert loop.mark_once_it_runs()


def test_the_lock_is_given_back_either_way(loop_of, idle, at_work, lock):
    loop_of(idle).mark_once_it_runs()
    loop_of(at_work).mark_once_it_runs()
    assert not lock.isLocked()


def test_a_real_time_query_is_asked_until_its_epoch_runs(loop_of, idle, at_work, monkeypatch):
    monkeypatch.setattr(Loop, "of", lambda query: loop_of(idle))
    running = Running(SimpleNamespace(), None)
    running.ask_to_end()
    assert not running.marked
    running.loop = loop_of(at_work)
    running.ask_to_end()
    assert running.marked
    assert running.loop.state.get() == "ENDED"
