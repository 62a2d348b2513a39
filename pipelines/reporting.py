"""What every fitted model leaves in its run: metrics, plots, importance, the model and a registry version."""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow.data.spark_dataset import SparkDataset
from mlflow.data.spark_dataset_source import SparkDatasetSource
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame

from evaluation import grade_plots, plots
from evaluation.beside import beside
from evaluation.curves import expected_calibration_error, reliability
from evaluation.fitting import Servable
from evaluation.metrics import evaluate
from evaluation.scorers import Scorer, spark_scorer
from features.contract import Contract, LeadField
from features.stages import forest_of, scored_columns
from features.storage import join
from pipelines.compiled import log_compiled
from pipelines.datasets import Prepared
from pipelines.documents import log_documents
from pipelines.evidence import log_evidence
from pipelines.measures import Measured, evidence_columns, measure
from pipelines.settings import Settings
from pipelines.tracking import log_figures, log_model, register_model
from serving.compiled.scorer import CompiledScorer


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline and what it was fitted for."""

    servable: Servable
    feature_set: str
    fields: tuple[LeadField, ...]

    @property
    def model(self) -> PipelineModel:
        """The pipeline itself."""
        return self.servable.model


@dataclass(frozen=True)
class Reported:
    """What a report left behind: metrics by name (train_*, test_*), the version if one was registered."""

    run_id: str
    metrics: dict[str, float]
    version: int | None


def report(
    settings: Settings, contract: Contract, data: Prepared, fitted: Fitted, register: bool, explain: bool = True
) -> Reported:
    """Evaluate a fitted pipeline on train and test, log everything to the active run, and register a version."""
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("report() logs to the active run; open one with tracked_run()")
    tags = _tags(contract, data, fitted)
    mlflow.set_tags(tags)
    subject = _subject(fitted, run.info.run_id)
    with _scored(fitted, data.test, contract) as scored, beside(data.test.sparkSession) as start:
        measuring = start(measure, scored, contract)
        on_train = start(_measured_on_train, fitted, data, contract)
        logged = log_model(fitted.model, fitted.fields, data.test)
        compiled = log_compiled(logged, fitted.fields, scored)
        found = measuring.result()
        metrics = {
            "fit_seconds": fitted.servable.fit_seconds,
            "calibration_seconds": fitted.servable.calibration_seconds,
            "log_model_seconds": logged.seconds,
            "measure_seconds": found.seconds,
            **{f"test_{name}": value for name, value in found.metrics.items()},
        }
        start_of_pictures = time.monotonic()
        metrics |= {f"test_{name}": value for name, value in _log_pictures(found, fitted, subject).items()}
        metrics["pictures_seconds"] = time.monotonic() - start_of_pictures
        tags |= compiled.tags
        explain_by = _scorer(fitted.model, compiled.scorer, data.test) if explain else None
        metrics |= log_evidence(contract, data, fitted.model, fitted.fields, found, subject, explain_by)
        metrics |= {f"train_{name}": value for name, value in on_train.result().items()}
    mlflow.log_metrics(metrics)
    _log_inputs(settings, data, contract)
    version = None
    if register:
        version = register_model(settings.model_name, logged, tags | _metric_tags(metrics))
        mlflow.set_tag("model_version", version)
    log_documents(settings, data.manifest, run.info.run_id, version)
    return Reported(run.info.run_id, metrics, version)


def _tags(contract: Contract, data: Prepared, fitted: Fitted) -> dict[str, str]:
    names = [f.name for f in fitted.fields]
    run = mlflow.active_run()
    said = mlflow.get_run(run.info.run_id).data.tags if run else {}
    cuts = fitted.servable.cuts
    return {
        "grade_cuts": cuts.model_dump_json() if cuts else "",
        "feature_set": fitted.feature_set,
        "features": ",".join(names),
        "late_fields": ",".join(contract.late_fields(names)),
        "data_hash": data.data_hash,
        "contract_hash": contract.digest(),
        "split": str(data.manifest["split"]),
        "git_commit": said.get("git_commit", ""),
        "leak_suspects": said.get("leak_suspects", "not probed"),
    }


def _metric_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    wanted = ("test_auc_roc", "test_auc_pr", "test_accuracy", "test_brier", "test_log_loss", "test_ece")
    return {name: f"{metrics[name]:.6f}" for name in wanted}


def _subject(fitted: Fitted, run_id: str) -> str:
    forest = forest_of(fitted.model)
    return (
        f"random forest {forest.getNumTrees} trees, depth {forest.getMaxDepth()}; "
        f"{fitted.feature_set} features; test leads; run {run_id[:8]}"
    )


@contextmanager
def _scored(fitted: Fitted, leads: DataFrame, contract: Contract) -> Iterator[DataFrame]:
    """What metrics and evidence read, and the model's fields; cached inside the block."""
    scored = fitted.model.transform(leads)
    read = evidence_columns(scored, contract)
    known = scored.select(*read).columns
    fields = [f.name for f in fitted.fields if f.name not in known]
    cached = scored.select(*read, *fields).cache()
    try:
        yield cached
    finally:
        cached.unpersist()


def _measured_on_train(fitted: Fitted, data: Prepared, contract: Contract) -> dict[str, float]:
    """Metrics of the leads that the model was fitted on."""
    scored = fitted.model.transform(data.train)
    return evaluate(scored.select(*scored_columns(scored, contract.label.name)), contract.label.name)


def _scorer(model: PipelineModel, compiled: CompiledScorer | None, leads: DataFrame) -> Scorer:
    """What explains the model: its compiled form, which gives the same scores without a Spark job, where it has one."""
    if compiled is None:
        return spark_scorer(model, leads.sparkSession)
    return lambda table: compiled.score(table).probability


def _log_pictures(found: Measured, fitted: Fitted, subject: str) -> dict[str, float]:
    """Log the plots of the test leads; the metrics that come out on the way: ece, and per grade its conversion.

    What was before calibration is told where the model calibrates.
    """
    bins = found.bins
    figures = {
        "roc": plots.roc(bins, subject),
        "precision_recall": plots.precision_recall(bins, subject),
        "confusion_matrix": plots.confusion_matrix(bins, subject),
        "calibration": plots.calibration(bins, subject, before=found.before),
        "lift": plots.lift(bins, subject),
    }
    metrics = {"ece": expected_calibration_error(reliability(bins))}
    if found.before is not None:
        metrics["ece_uncalibrated"] = expected_calibration_error(reliability(found.before))
    if found.grades is not None and fitted.servable.cuts is not None:
        figures["grades"] = grade_plots.grades(found.grades, subject)
        mlflow.log_dict({"cuts": fitted.servable.cuts.model_dump(), **found.grades.as_dict()}, "grades.json")
        metrics |= {f"grade_{row.grade.lower()}_rate": row.rate for row in found.grades.rows if row.rate is not None}
    log_figures(figures)
    return metrics


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
