"""When the loop of a real-time query may be told to begin no other epoch."""

import threading
from types import SimpleNamespace

import pytest

from serving.queries import WAITS_FOR_TASKS, Loop, Running


class State:
    """Java's AtomicReference, as far as a loop needs it."""

    def __init__(self) -> None:
        self.value = "ACTIVE"

    def set(self, value: str) -> None:
        self.value = value


class Progress:
    """Java's lock, as far as a loop needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def tryLock(self) -> bool:  # noqa: N802
        return self._lock.acquire(blocking=False)

    def unlock(self) -> None:
        self._lock.release()


@pytest.fixture
def stack():
    """Where the loop's thread is, outermost last."""
    return ["java.lang.Thread.run"]


@pytest.fixture
def loop(stack):
    thread = SimpleNamespace(getStackTrace=lambda: stack, isAlive=lambda: True)
    return Loop(State(), "TERMINATED", thread, Progress(), SimpleNamespace(toString=str))


def test_an_epoch_that_is_planned_is_not_marked_as_the_last(loop):
    assert not loop.mark_once_it_runs()
    assert loop.state.value == "ACTIVE"


def test_an_epoch_whose_tasks_run_is_marked_as_the_last(loop, stack):
    stack.insert(0, f"{WAITS_FOR_TASKS}(DAGScheduler.scala:1009)")
    assert loop.mark_once_it_runs()
    assert loop.state.value == "TERMINATED"


def test_a_loop_that_makes_progress_is_left_to_it(loop, stack):
    stack.insert(0, WAITS_FOR_TASKS)
    assert loop.progress.tryLock()
    assert not loop.mark_once_it_runs()
    assert loop.state.value == "ACTIVE"
    loop.progress.unlock()
    assert loop.mark_once_it_runs()


def test_the_lock_is_given_back_either_way(loop, stack):
    loop.mark_once_it_runs()
    assert loop.progress.tryLock()
    loop.progress.unlock()
    stack.insert(0, WAITS_FOR_TASKS)
    loop.mark_once_it_runs()
    assert loop.progress.tryLock()


def test_a_real_time_query_is_asked_until_its_epoch_runs(loop, stack, monkeypatch):
    monkeypatch.setattr(Loop, "of", lambda query: loop)
    running = Running(SimpleNamespace(), None)
    running.ask_to_end()
    assert (running.marked, loop.state.value) == (False, "ACTIVE")
    stack.insert(0, WAITS_FOR_TASKS)
    running.ask_to_end()
    assert (running.marked, loop.state.value) == (True, "TERMINATED")
