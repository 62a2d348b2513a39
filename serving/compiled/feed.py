"""Batches of several readers, for several threads."""

from collections.abc import Iterator, Sequence
from queue import LifoQueue
from threading import Event, Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Feed(Iterator[Item], Generic[Item]):
    """What readers give, each item to one of the threads that ask.

    A thread goes on with the reader that was used last, or with the next where that one is being read from: as many
    readers are open at a time as threads read at once, and threads read beside one another where there are several.
    """

    def __init__(self, readers: Sequence[Iterator[Item]]):
        self._idle: LifoQueue[Iterator[Item] | None] = LifoQueue()
        self._left, self._counting, self._ended = len(readers), Lock(), Event()
        for reader in reversed(readers):
            self._idle.put(reader)
        if not readers:
            self.end()

    def __next__(self) -> Item:
        """The next item; StopIteration where there is none, or after `end`. An error of a reader ends all."""
        while (reader := self._idle.get()) is not None and not self._ended.is_set():
            try:
                item = next(reader)
            except StopIteration:
                self._one_less()
            except BaseException:
                self.end()
                raise
            else:
                self._idle.put(reader)
                return item
        self._idle.put(None)
        raise StopIteration

    def end(self) -> None:
        """Begin to read nothing more, for those either that wait for a reader; what is being read is still given."""
        self._ended.set()
        self._idle.put(None)

    def _one_less(self) -> None:
        with self._counting:
            self._left -= 1
            if self._left == 0:
                self.end()
