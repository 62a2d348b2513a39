"""How long to try again: exponential backoff with jitter, up to a bound, ended early by a stop."""

import threading
from collections.abc import Callable

from pydantic import BaseModel, Field
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)


class Patience(BaseModel, frozen=True, extra="forbid"):
    """Waits between tries, in seconds: each is drawn from 0 to a bound that doubles from `first` to `longest`."""

    first: float = Field(0.2, gt=0, description="bound of the first wait")
    longest: float = Field(10, gt=0, description="largest bound of a wait")
    total: float = Field(120, ge=0, description="no new try is begun after this many seconds")

    def retrying(self, again: Callable[[BaseException], bool], stop: threading.Event | None = None) -> Retrying:
        """Tenacity's loop for errors that `again` accepts; the last one is raised at the end."""
        stop = stop or threading.Event()

        def sleep(seconds: float) -> None:
            stop.wait(seconds)

        return Retrying(
            retry=retry_if_exception(again),
            wait=wait_random_exponential(multiplier=self.first, max=self.longest),
            stop=stop_any(stop_after_delay(self.total), stop_when_event_set(stop)),
            sleep=sleep,
            reraise=True,
        )
