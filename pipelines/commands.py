"""How an entry point runs as a command: parameters by typer, known errors as one line and exit code 2."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any

import typer
from py4j.protocol import Py4JNetworkError  # type: ignore[import-untyped]
from pydantic import ValidationError
from rich.console import Console

from features.errors import LeadScoringError

JAVA_ENDED = (
    "the Java process in which Spark runs has ended (killed, or out of memory). Start again: what was begun is "
    "repeated, and nothing is half-written. Where it happens again, give Spark more memory (LEADS_DRIVER_MEMORY)."
)


# Parameters that people write passwords into, though they are asked not to.
ADDRESSES = ("dsn", "url")
FROM_ENVIRONMENT = ("Settings", "Connections")  # what reads the environment, by the names of the classes


class Switch(StrEnum):
    """A true/false parameter that takes its value in words, as `mlflow run -P name=value` passes it."""

    TRUE = "true"
    FALSE = "false"

    @classmethod
    def of(cls, value: bool) -> "Switch":
        """The word for a truth value: what a run logs, so that a command takes it from the record again."""
        return cls.TRUE if value else cls.FALSE

    def __bool__(self) -> bool:
        return self is Switch.TRUE


def run_command(function: Callable[..., Any]) -> None:
    """Run `function` as the command of this process; its signature gives the options.

    A `LeadScoringError` becomes one line on stderr and exit code 2; a refused option exits 2 as well. Where Spark's
    Java process is gone the one line says so, and the exit code is 1: no parameter is at fault.
    """
    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # what it logs, with a stack, it raises as well
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    try:
        app()
    except LeadScoringError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ValidationError as error:
        for fault in error.errors():
            where = _said_as(error.title, ".".join(str(part) for part in fault["loc"]))
            print(f"error: {where}: {fault['msg']}{_found(where, fault['input'])}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if not java_has_ended(error):
            raise
        _say_last(f"error: {JAVA_ENDED}")
        sys.exit(1)


def _say_last(line: str) -> None:
    """Say the last line of this process: what other threads log of the same end after it goes nowhere."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:  # a console that is gone
        sys.stderr.flush()
        console = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        os.write(console, f"{line}\n".encode())


def console_of(width: int) -> Console:
    """A console as wide as the terminal; what is no terminal (a pipe, a log) has no width and gets `width` columns."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def _said_as(model: str, where: str) -> str:
    """The name by which somebody gave a value: its variable, where it came from the environment."""
    return f"LEADS_{where.upper()}" if model in FROM_ENVIRONMENT and where else where


def _found(where: str, value: object) -> str:
    """What was found instead, where it is one value that holds no secret: an address may, and so may all values."""
    is_told = isinstance(value, str | int | float) and not where.lower().endswith(ADDRESSES)
    return f" (found {value!r})" if is_told else ""


def java_has_ended(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that Spark's Java process does not answer any more."""
    while error is not None:
        if isinstance(error, Py4JNetworkError):
            return True
        error = error.__cause__ or error.__context__
    return False
