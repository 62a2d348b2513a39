"""What is looked at again and again, on a thread of its own, for as long as a block lasts."""

import threading
from abc import ABC, abstractmethod
from typing import Self

ENDING_SECONDS = 5.0


class Lookout(ABC):
    """Looks every `every` seconds inside its block; a look that hangs holds up the block's end for five seconds."""

    every: float
    _ending: threading.Event
    _thread: threading.Thread

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name=type(self).__name__, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(ENDING_SECONDS)

    @abstractmethod
    def look(self) -> None:
        """Look once; raises nothing."""

    def _keep_looking(self) -> None:
        while not self._ending.wait(self.every):
            self.look()
