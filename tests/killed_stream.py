"""The stream with a SIGKILL in it: `python -m tests.killed_stream PHASE BATCH OPTION..` dies in that phase of BATCH.

Everything else is the command as it is; nothing in the code of the stream knows of this.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from pipelines.commands import run_command
from pipelines.stream import stream
from serving.kafka_sink import KafkaSink
from serving.lake import LakeSink
from serving.postgres import PostgresSink
from serving.postgres_tables import Tables
from serving.queries import BatchWriter

# The method that a phase begins or ends with (its last argument is the number of the batch), and whether death comes
# before it or after it. The lake is written before Kafka, that before PostgreSQL, and the dead letters last.
PHASES: dict[str, tuple[type, str, bool]] = {
    "before-lake": (LakeSink, "write", True),
    "after-kafka": (KafkaSink, "write", False),
    "before-postgres": (PostgresSink, "write", True),
    "in-transaction": (Tables, "merge", False),
    "after-postgres": (PostgresSink, "write", False),
    "before-commit": (BatchWriter, "__call__", False),
}


def arm(phase: str, batch: int) -> None:
    """Let this process die in the phase of a batch, as it would by the kernel's hand: nothing is cleaned up."""
    owner, name, before = PHASES[phase]
    method: Callable[..., Any] = getattr(owner, name)

    def lethal(*args: Any) -> Any:
        is_due = args[-1] == batch
        done = None if is_due and before else method(*args)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, lethal)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    run_command(stream)
