"""The log of a stream for machines: one JSON object a line."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from serving.runtime.progress import Finished


class LogTo(StrEnum):
    """Where log lines go."""

    STDOUT = "stdout"
    STDERR = "stderr"
    OFF = "off"


@dataclass
class Journal:
    """Writes lines such as {"time": "...", "event": "batch", "query": "q1a2b3c4", ...}, whole and flushed.

    `about` stands in every line: the query's id, the model, the mode.
    """

    write: Callable[[str], None]
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def to(cls, place: LogTo) -> "Journal":
        """A journal on stdout, on stderr, or nowhere."""
        if place is LogTo.OFF:
            return cls(lambda line: None)
        # Looked up at each line: tests and wrappers put other streams there.
        return cls(lambda line: print(line, file=getattr(sys, place), flush=True))

    def say(self, event: str, **fields: Any) -> None:
        """Write one line; one that finds no room is lost, as scoring goes before its log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError):
            self.write(json.dumps({"time": now, "event": event, **self.about, **fields}, default=str))

    def batch(self, done: Finished, version: int) -> None:
        """Write the line of a batch or an epoch."""
        fields = asdict(done)
        self.say("batch", version=version, batch=fields.pop("number"), batch_ms=done.milliseconds, **fields)
