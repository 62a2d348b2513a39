"""rollback: put the version that Production replaced back, in one command."""

import getpass
import os
from datetime import UTC, datetime
from typing import Annotated

import mlflow
import typer

from features.errors import LeadScoringError
from pipelines.commands import run_command
from pipelines.settings import Settings
from pipelines.tracking import connect, tracked_run
from serving.registry import Move, roll_back

PREVIOUS = "previous"


class NotAVersion(LeadScoringError):
    """A version was asked for by something that is no number."""


def rollback(
    version: Annotated[str, typer.Option(help="previous, or the number of a version that served before")] = PREVIOUS,
    reason: Annotated[str, typer.Option(help="why, for the record")] = "",
) -> None:
    """Return Production to the version before; no Spark is needed, so it takes seconds."""
    settings = Settings()
    moved = run_rollback(settings, version, reason)
    number = moved.production.version
    left = f" instead of version {moved.replaced}" if moved.replaced else ""
    state = f"is in Production again{left}" if moved.changed else "is in Production already; nothing to do"
    print(f"{settings.model_name} version {number} {state}")


def run_rollback(settings: Settings, version: str = PREVIOUS, reason: str = "") -> Move:
    """Move Production back within an audit run; NotAVersion where `version` is neither a number nor `previous`."""
    if version != PREVIOUS and not version.isdecimal():
        raise NotAVersion(f"version {version!r} is neither a number nor {PREVIOUS!r}; name one of these.")
    client = connect(settings)
    with tracked_run(settings, "rollback", {"version": version, "reason": reason}):
        to = None if version == PREVIOUS else int(version)
        moved = roll_back(client, settings.model_name, to=to, reason=reason, who=who(), now=datetime.now(UTC))
        mlflow.set_tags(
            {
                "decision": "rolled back" if moved.changed else "unchanged",
                "model_name": moved.production.name,
                "model_version": moved.production.version,
                "left_version": moved.replaced or "",
                "rolled_back_by": who(),
            }
        )
        return moved


def who() -> str:
    """The user who runs this, for the record; a container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


if __name__ == "__main__":
    run_command(rollback)
