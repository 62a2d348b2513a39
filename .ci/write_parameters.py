"""Write docs/parameters.md from MLproject, the commands behind it and the settings of the environment."""

import importlib
import sys
from collections.abc import Iterable
from enum import EnumType
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
import yaml  # noqa: E402
from pydantic_settings import BaseSettings  # noqa: E402
from typer.main import get_command  # noqa: E402

from pipelines.settings import HOME, Settings  # noqa: E402
from pipelines.stream_options import Connections  # noqa: E402

PAGE = ROOT / "docs" / "parameters.md"
HEAD = """\
# Parameters

Written by `make parameters` from `MLproject`, the commands and the settings; do not edit it.

A parameter is given as `mlflow run . -e ENTRY -P name=value --env-manager local`, or as
`python -m pipelines.ENTRY --name value`, with dashes for underscores. Places that
are called `data/...` here lie in `LEADS_DATA`.
"""
SECRETS = {
    "LEADS_WEBHOOK_TOKEN": "bearer token for the webhook",
    "KAFKA_USERNAME, KAFKA_PASSWORD": "user and password, for SASL; read by Kafka's client itself",
    "KAFKA_TRUSTSTORE_PASSWORD, KAFKA_KEYSTORE_PASSWORD": "passwords of the two files; read by Kafka's client itself",
    "PGPASSWORD or PGPASSFILE": "PostgreSQL's password, or a file of passwords",
}
OF_MLFLOW = {
    "MLFLOW_TRACKING_URI": "registry and tracking store; empty: `sqlite:///mlflow.db` at the top of the repository",
    "MLFLOW_EXPERIMENT_NAME": "experiment of the runs, for `mlflow run` too; it wins over LEADS_EXPERIMENT",
    "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD": "login at a tracking server that asks for one",
    "MLFLOW_DFS_TMP": "where executors read a model from, on a cluster",
}


def page() -> str:
    """The whole page."""
    project = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))
    entries = [entry for entry in project["entry_points"] if entry != "main"]
    return "\n".join([HEAD, *(_entry(entry) for entry in entries), _environment()])


def _entry(name: str) -> str:
    app = typer.Typer(add_completion=False)
    app.command()(getattr(importlib.import_module(f"pipelines.{name}"), name))
    command = get_command(app)
    rows = [(f"`{p.name}`", _default(p.default), _meaning(p)) for p in command.params]
    first = (command.help or "").splitlines()[0]
    return f"## {name}\n\n{first}\n\n{_table(('parameter', 'default', 'what'), rows)}"


def _meaning(parameter: Any) -> str:
    """The help of a parameter, and the words it takes where it does not name some of these."""
    told = parameter.help or ""
    kind = parameter.type_descriptor.annotation
    choices = [str(choice) for choice in (kind if isinstance(kind, EnumType) else get_args(kind))]
    if choices == ["true", "false"] or sum(choice in told for choice in choices) > 1:
        return told
    return f"{told}: {', '.join(choices)}" if choices else told


def _default(value: Any) -> str:
    told = str(value).lower() if isinstance(value, bool) else str(value).replace(f"{HOME}/", "")
    return f"`{told}`" if told else ""


def _environment() -> str:
    rows = [row for kind in (Settings, Connections) for row in _fields(kind)]
    rows += [(name, "", what) for name, what in (SECRETS | OF_MLFLOW).items()]
    return f"## Environment\n\n{_table(('variable', 'default', 'what'), rows)}"


def _fields(kind: type[BaseSettings]) -> Iterable[tuple[str, str, str]]:
    for name, field in kind.model_fields.items():
        yield f"LEADS_{name.upper()}", _default(field.default), field.description or ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
