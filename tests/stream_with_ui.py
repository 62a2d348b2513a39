"""The stream as a process whose Spark shows its UI: `python -m tests.stream_with_ui PORT` and the stream's words."""

import sys
from functools import partial

import pipelines.stream
from pipelines.commands import run_command

if __name__ == "__main__":
    shown = {"spark__ui__enabled": "true", "spark__ui__port": sys.argv.pop(1), "spark__port__maxRetries": "0"}
    pipelines.stream.spark_session = partial(pipelines.stream.spark_session, **shown)
    run_command(pipelines.stream.stream)
