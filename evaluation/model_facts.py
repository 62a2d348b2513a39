"""What is on record of one model, as its documents tell it; any part may be missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.document import said
from features.contract import Contract

# The reports that training leaves in a run, and what a document calls one that is not there.
REPORTS = {
    "intervals.json": "intervals",
    "slices.json": "measures by slice",
    "grades.json": "grades",
    "leakage.json": "leak report",
    "importance.json": "importances",
    "honest.json": "comparison without the late fields",
}
HEADLINE = {
    "auc_roc": "ROC AUC",
    "auc_pr": "precision-recall AUC",
    "brier": "Brier score (lower is better)",
    "log_loss": "log loss, nats (lower is better)",
    "lift_at_10": "lift, best 10% of the leads",
    "lift_at_20": "lift, best 20% of the leads",
}
WITHOUT_INTERVAL = {
    "accuracy": "accuracy at 0.5",
    "weighted_precision": "precision, weighted by class",
    "weighted_recall": "recall, weighted by class",
    "ece": "expected calibration error",
}


@dataclass(frozen=True)
class ModelFacts:
    """One model on record: `reports` and `pictures` (PNG) by their path in the run, `manifest` of the prepared data.

    `version` is None for a run that registered none. `asks` names the parameters of the entry point that trained it.
    """

    name: str
    version: int | None
    run_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    reports: Mapping[str, Mapping[str, Any]]
    pictures: Mapping[str, bytes]
    manifest: Mapping[str, Any]
    contract: Contract
    asks: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """How the model is named: by its version, or by its run."""
        return f"{self.name} version {self.version}" if self.version else f"{self.name}, run {self.run_id[:8]}"

    @property
    def features(self) -> list[str]:
        """Names of the fields that the model looks at."""
        return [n for n in self.tags.get("features", "").split(",") if n]

    @property
    def late(self) -> list[str]:
        """Those of them that the contract says are known too late."""
        return self.contract.late_fields(self.features)

    @property
    def missing(self) -> list[str]:
        """What a document cannot tell, in words; the last report is there only where the model has late fields."""
        wanted = {k: v for k, v in REPORTS.items() if k != "honest.json" or self.late}
        return [words for path, words in wanted.items() if not self.reports.get(path)]

    def report(self, path: str) -> Mapping[str, Any]:
        """A report, or an empty one."""
        return self.reports.get(path, {})

    def interval(self, metric: str) -> str:
        """A test metric with its 95% interval, as `0.8912 (0.8790 to 0.9025)`; without one where none is known."""
        value = self.metrics.get(f"test_{metric}")
        found = self.report("intervals.json").get("metrics", {}).get(metric)
        if found:
            return f"{said(value if value is not None else found['value'])} ({found['low']:.3f} to {found['high']:.3f})"
        return said(value) if value is not None else "not measured"
