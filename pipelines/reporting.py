"""What every fitted model leaves in its run: metrics, plots, importance, the model and a registry version."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import mlflow
from mlflow.data.spark_dataset import SparkDataset
from mlflow.data.spark_dataset_source import SparkDatasetSource
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.sql import DataFrame

from evaluation import plots
from evaluation.importance import importance_by_field
from evaluation.metrics import evaluate, score_bins
from features.contract import Contract, LeadField
from features.stages import scored_columns
from features.storage import join
from pipelines.compiled import log_compiled
from pipelines.datasets import Prepared
from pipelines.settings import Settings
from pipelines.tracking import log_figures, log_model, register_model


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline and what it was fitted for."""

    model: PipelineModel
    feature_set: str
    fields: tuple[LeadField, ...]


@dataclass(frozen=True)
class Reported:
    """What a report left behind: metrics by name (train_*, test_*), the version if one was registered."""

    run_id: str
    metrics: dict[str, float]
    version: int | None


def report(settings: Settings, contract: Contract, data: Prepared, fitted: Fitted, register: bool) -> Reported:
    """Evaluate a fitted pipeline on train and test, log everything to the active run, and register a version."""
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("report() logs to the active run; open one with tracked_run()")
    tags = _tags(contract, data, fitted)
    mlflow.set_tags(tags)
    metrics: dict[str, float] = {}
    for side, leads in (("test", data.test), ("train", data.train)):
        scored = fitted.model.transform(leads).select(*scored_columns(contract.label.name)).cache()
        try:
            found = evaluate(scored, contract.label.name)
            metrics |= {f"{side}_{name}": value for name, value in found.items()}
            if side == "test":
                _log_plots(scored, contract, fitted, run.info.run_id)
        finally:
            scored.unpersist()
    _log_importance(data, fitted, run.info.run_id)
    mlflow.log_metrics(metrics)
    _log_inputs(settings, data, contract)
    logged = log_model(fitted.model, fitted.fields, data.test)
    mlflow.log_metric("log_model_seconds", logged.seconds)
    tags |= log_compiled(logged, fitted.model, fitted.fields, data.test)
    version = None
    if register:
        version = register_model(settings.model_name, logged, tags | _metric_tags(metrics))
        mlflow.set_tag("model_version", version)
    return Reported(run.info.run_id, metrics, version)


def _tags(contract: Contract, data: Prepared, fitted: Fitted) -> dict[str, str]:
    names = [f.name for f in fitted.fields]
    run = mlflow.active_run()
    commit = mlflow.get_run(run.info.run_id).data.tags.get("git_commit", "") if run else ""
    return {
        "feature_set": fitted.feature_set,
        "features": ",".join(names),
        "late_fields": ",".join(contract.late_fields(names)),
        "data_hash": data.data_hash,
        "contract_hash": contract.digest(),
        "split": str(data.manifest["split"]),
        "git_commit": commit,
    }


def _metric_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    wanted = ("test_auc_roc", "test_auc_pr", "test_accuracy", "test_brier", "test_log_loss")
    return {name: f"{metrics[name]:.6f}" for name in wanted}


def _subject(fitted: Fitted, run_id: str) -> str:
    forest = cast("RandomForestClassificationModel", fitted.model.stages[-1])
    return (
        f"random forest {forest.getNumTrees} trees, depth {forest.getMaxDepth()}; "
        f"{fitted.feature_set} features; test leads; run {run_id[:8]}"
    )


def _log_plots(scored: DataFrame, contract: Contract, fitted: Fitted, run_id: str) -> None:
    bins, subject = score_bins(scored, contract.label.name), _subject(fitted, run_id)
    log_figures(
        {
            "roc": plots.roc(bins, subject),
            "precision_recall": plots.precision_recall(bins, subject),
            "confusion_matrix": plots.confusion_matrix(bins, subject),
            "calibration": plots.calibration(bins, subject),
            "lift": plots.lift(bins, subject),
        }
    )


def _log_importance(data: Prepared, fitted: Fitted, run_id: str) -> None:
    encoded = PipelineModel(stages=fitted.model.stages[:-1]).transform(data.train)
    shares = importance_by_field(fitted.model, encoded)
    subject = _subject(fitted, run_id).replace("test leads", "train leads")
    log_figures({"importance": plots.importance(shares, subject, int(data.manifest["rows"]["train"]))})
    mlflow.log_dict(shares, "importance.json")


def _log_inputs(settings: Settings, data: Prepared, contract: Contract) -> None:
    """Datasets of the run, so that the UI shows what it was trained and tested on."""
    for side, leads in (("train", data.train), ("test", data.test)):
        dataset = SparkDataset(
            leads,
            SparkDatasetSource(path=join(settings.prepared, side)),
            targets=contract.label.name,
            name=f"{contract.name}-{side}",
            digest=data.data_hash[:16] if side == "train" else data.data_hash[16:32],
        )
        with warnings.catch_warnings():
            # The label never lacks a value: MLflow's hint about whole numbers does not apply.
            warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer")
            mlflow.log_input(dataset, context=side)
