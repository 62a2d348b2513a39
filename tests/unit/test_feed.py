"""Batches of several readers, for several threads."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from serving.compiled.feed import Feed


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _held(begun: Event, go_on: Event, item: str) -> Iterator[str]:
    """A reader that reads its item until it may go on."""
    begun.set()
    assert go_on.wait(20)
    yield item


def _being_read(pool: ThreadPoolExecutor, item: str, *others: Iterator[str]) -> tuple[Feed[str], Future[str], Event]:
    """A feed whose first reader is being read from, that read, and what lets it go on."""
    begun, go_on = Event(), Event()
    feed = Feed([_held(begun, go_on, item), *others])
    slow = pool.submit(next, feed)
    assert begun.wait(20)
    return feed, slow, go_on


def test_every_item_is_given_to_one_thread(pool):
    feed = Feed([iter(range(100 * i, 100 * i + 100)) for i in range(7)])
    taken = [each.result(20) for each in [pool.submit(list, feed) for _ in range(4)]]
    assert sorted(item for items in taken for item in items) == list(range(700))


def test_without_readers_there_is_nothing():
    assert list(Feed([])) == []


def test_one_thread_reads_one_reader_after_the_other():
    assert "".join(Feed([iter("ab"), iter(""), iter("cd")])) == "abcd"


def test_a_thread_takes_the_next_reader_where_one_is_being_read_from(pool):
    feed, slow, go_on = _being_read(pool, "first", iter(["second"]))
    assert next(feed) == "second"
    go_on.set()
    assert slow.result(20) == "first"


def test_a_thread_waits_for_a_reader_that_has_more(pool):
    feed, slow, go_on = _being_read(pool, "only")
    waiting = pool.submit(list, feed)
    go_on.set()
    assert (slow.result(20), waiting.result(20)) == ("only", [])


def test_an_error_of_a_reader_ends_the_others():
    def broken() -> Iterator[str]:
        raise OSError("no such file")
        yield ""

    feed = Feed([broken(), iter("ab")])
    with pytest.raises(OSError, match="no such file"):
        next(feed)
    assert list(feed) == []


def test_an_end_gives_nothing_to_those_that_wait(pool):
    feed, slow, go_on = _being_read(pool, "late")
    waiting = pool.submit(list, feed)
    feed.end()
    assert waiting.result(20) == []
    go_on.set()
    assert slow.result(20) == "late"
    assert list(feed) == []
