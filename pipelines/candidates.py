"""What both sweeps log: a nested run per candidate, the table of all of them, and the winner's parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import mlflow
import pandas as pd

from evaluation.search import Candidate, candidates_table
from pipelines.settings import Settings
from pipelines.tracking import tracked_run

Metric = Literal["auc_roc", "auc_pr"]


def log_candidate(
    settings: Settings, sweep: str, number: int, candidate: Candidate, metric: str, tags: Mapping[str, str]
) -> None:
    """Log one candidate as a finished nested run: parameters, mean and deviation of the metric, fit seconds."""
    named = {**tags, "mlflow.runName": f"{sweep}-{number:03d}", "candidate": str(number)}
    with tracked_run(settings, sweep, candidate.params.model_dump(), nested=True, tags=named):
        mlflow.log_metrics(
            {
                f"cv_{metric}_mean": candidate.mean,
                f"cv_{metric}_std": candidate.std,
                "fit_seconds": candidate.fit_seconds,
            }
        )


def log_table(candidates: Sequence[Candidate], metric: str) -> None:
    """Log all candidates, best first, as candidates.json (a table in the UI) and candidates.csv."""
    table = pd.DataFrame(candidates_table(candidates, metric))
    mlflow.log_table(table, "candidates.json")
    mlflow.log_text(table.to_csv(index=False), "candidates.csv")


@dataclass(frozen=True)
class Picked:
    """The candidate that a sweep refits."""

    winner: Candidate
    metric: str

    def log(self) -> None:
        """Log its parameters as those of the parent run, which then compares with runs of train; and its metric."""
        mlflow.log_params({k: v for k, v in self.winner.params.model_dump().items() if k != "seed"})
        mlflow.log_metrics(
            {
                f"best_cv_{self.metric}_mean": self.winner.mean,
                f"best_cv_{self.metric}_std": self.winner.std,
                "best_fit_seconds": self.winner.fit_seconds,
            }
        )
