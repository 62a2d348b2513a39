"""How a command ends: known errors as one line on stderr and exit code 2."""

import subprocess
import sys

import pytest

from pipelines.commands import console_of
from pipelines.settings import ROOT

PROGRAM = """
from typing import Annotated
import typer
from features.errors import FeaturesError
from pipelines.commands import Switch, run_command

def go(n: Annotated[int, typer.Option(min=1)] = 1, on: Switch = Switch.TRUE):
    if not on:
        raise FeaturesError("leads.csv lacks City; rename the column.")
    if n == 3:
        raise KeyError("a bug")

run_command(go)
"""

# Java is gone while four threads log that it is.
NOISY_END = """
import logging, threading, time
from py4j.protocol import Py4JNetworkError
from pipelines.commands import run_command

def talk():
    while True:
        try:
            raise Py4JNetworkError("gone")
        except Py4JNetworkError:
            logging.exception("Exception while sending command.")

def go():
    for _ in range(4):
        threading.Thread(target=talk, daemon=True).start()
    time.sleep(0.05)
    raise Py4JNetworkError("gone")

run_command(go)
"""


def run(*words, program=PROGRAM):
    return subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_a_good_command_exits_0():
    assert run("--n", "2").returncode == 0


def test_a_known_error_is_one_line_on_stderr_and_exit_2():
    ended = run("--on", "false")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: leads.csv lacks City; rename the column.\n"


@pytest.mark.parametrize("words", [["--n", "0"], ["--n", "many"], ["--on", "perhaps"], ["--unknown", "1"]])
def test_a_refused_parameter_exits_2(words):
    ended = run(*words)
    assert ended.returncode == 2
    assert words[0] in ended.stderr


def test_a_bug_keeps_its_traceback():
    ended = run("--n", "3")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_a_pipe_is_written_to_as_wide_as_asked(capsys):
    console_of(130).print("x" * 200)
    assert [len(line) for line in capsys.readouterr().out.splitlines()] == [130, 70]


def test_a_terminal_keeps_its_own_width(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    console_of(130).print("x" * 100)
    assert [len(line) for line in capsys.readouterr().out.splitlines()] == [60, 40]


def test_what_other_threads_log_of_java_s_end_comes_before_the_last_line():
    ended = run(program=NOISY_END)
    assert ended.returncode == 1
    assert "Exception while sending command." in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: the Java process")


FROM_ENVIRONMENT = """
from pipelines.commands import run_command
from pipelines.settings import Settings
from pipelines.stream_options import Connections
run_command(lambda: print(Settings(), Connections()))
"""


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LEADS_KAFKA_PROTOCOL", "TLS"), ("LEADS_KAFKA_KEYSTORE_SECURED", "x"), ("LEADS_EXPERIMENT", "")],
)
def test_a_bad_value_of_the_environment_is_told_by_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    ended = run(program=FROM_ENVIRONMENT)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {variable}: ")
    assert ended.stderr.endswith(f"(found {value!r})\n")
