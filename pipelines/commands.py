"""How an entry point runs as a command: parameters by typer, known errors as one line and exit code 2."""

import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import typer
from pydantic import ValidationError

from features.errors import LeadScoringError


class Switch(StrEnum):
    """A true/false parameter that takes its value in words, as `mlflow run -P name=value` passes it."""

    TRUE = "true"
    FALSE = "false"

    def __bool__(self) -> bool:
        return self is Switch.TRUE


def run_command(function: Callable[..., Any]) -> None:
    """Run `function` as the command of this process; its signature gives the options.

    A `LeadScoringError` becomes one line on stderr and exit code 2; a refused option exits 2 as well.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    try:
        app()
    except LeadScoringError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ValidationError as error:
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            print(f"error: {where}: {fault['msg']} (found {fault['input']!r})", file=sys.stderr)
        sys.exit(2)
