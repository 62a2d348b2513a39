"""Running entry points as a user does: one process each, with an environment of its own."""

import importlib
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from typer.main import get_command

from pipelines.settings import ROOT
from tests.leads import SMALL

# A few hundred small leads prove little: the gate of these tests asks for little.
LENIENT_GATE = (
    "newest_share: 1.0\nmin_test_leads: 50\nmin_auc: 0.5\nmax_auc_drop: 0.5\nmax_brier_rise: 0.5\nmax_ece: 1.0\n"
    "max_ece_rise: 1.0\nmin_grade_leads: 1000\nmax_cost_factor: 50.0\n"
)
ENTRIES = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]


def command_of(entry: str) -> Any:
    """The command behind an entry point, as click sees it."""
    app = typer.Typer(add_completion=False)
    app.command()(getattr(importlib.import_module(f"pipelines.{entry}"), entry))
    return get_command(app)


@dataclass(frozen=True)
class MlflowRun:
    """An `mlflow run . -e ENTRY -P NAME=VALUE ..` as a document prints it."""

    entry: str
    given: dict[str, str]

    @classmethod
    def printed_in(cls, card: str, entry: str) -> "MlflowRun":
        """The line for one entry point, read as a shell reads it."""
        start = f"mlflow run . -e {entry} "
        (line,) = [line for line in card.splitlines() if line.startswith(start)]
        words = shlex.split(line.removeprefix(start), comments=True)
        assert words[::2] == ["-P"] * (len(words) // 2)
        return cls(entry, dict(word.split("=", 1) for word in words[1::2]))

    def taken(self) -> dict[str, Any]:
        """What the command makes of the values; it raises where it refuses a name or a value. Nothing runs."""
        words = [w for name, value in self.given.items() for w in (f"--{name.replace('_', '-')}", value)]
        return dict(command_of(self.entry).make_context(self.entry, words).params)


@dataclass(frozen=True)
class Workplace:
    """A folder with data, a contract and a gate of its own, and a tracking store."""

    folder: Path
    tracking_uri: str

    @classmethod
    def at(cls, folder: Path, tracking_uri: str = "") -> "Workplace":
        """Set one up for the small leads of tests."""
        (folder / "leads.yaml").write_text(SMALL, encoding="utf-8")
        (folder / "gate.yaml").write_text(LENIENT_GATE, encoding="utf-8")
        return cls(folder, tracking_uri or f"sqlite:///{folder / 'mlflow.db'}")

    @property
    def data(self) -> Path:
        """Where the entry points keep their data."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command."""
        ours = ("LEADS_", "MLFLOW_", "SPARK_", "PYSPARK_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) or k == "SPARK_SUBMIT_OPTS"}
        return kept | {
            "LEADS_DATA": str(self.data),
            "LEADS_CONTRACT_FILE": str(self.folder / "leads.yaml"),
            "LEADS_GATE_FILE": str(self.folder / "gate.yaml"),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": str(ROOT),
        }

    def run(self, entry: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one entry point to its end."""
        return subprocess.run(
            [sys.executable, "-m", f"pipelines.{entry}", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment | environment,
            timeout=300,
            check=False,
        )

    def must(self, entry: str, *words: str) -> str:
        """Run one entry point that has to succeed; what it said on stdout."""
        ended = self.run(entry, *words)
        assert ended.returncode == 0, f"{entry} ended with {ended.returncode}: {ended.stderr[-3000:]}"
        return ended.stdout
