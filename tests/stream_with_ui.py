"""The stream as a process whose Spark shows its UI: `python -m tests.stream_with_ui PORT` and the stream's words."""

import sys

from pipelines.commands import run_command
from pipelines.session import STREAMING
from pipelines.stream import stream

if __name__ == "__main__":
    STREAMING.update(spark__ui__enabled="true", spark__ui__port=sys.argv.pop(1), spark__port__maxRetries="0")
    run_command(stream)
