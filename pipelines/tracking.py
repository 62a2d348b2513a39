"""MLflow tracking: connecting, runs, what every run is tagged with, and how a model is logged."""

import contextlib
import io
import logging
import operator
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import mlflow
import mlflow.models.utils
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from features.contract import Kind, LeadField
from features.errors import LeadScoringError
from pipelines.settings import CODE, HOME, Settings

if TYPE_CHECKING:  # matplotlib and Spark ML take two seconds, which commands without them do without
    import pandas as pd
    from matplotlib.figure import Figure
    from pyspark.ml import PipelineModel
    from pyspark.sql import DataFrame

MODEL_PACKAGES = ("mlflow", "pyspark", "numpy", "pandas", "pyarrow")


class TrackingUnreachable(LeadScoringError):
    """The tracking server that MLFLOW_TRACKING_URI names does not answer."""


def connect(settings: Settings) -> MlflowClient:
    """Point MLflow at the tracking store and check that it answers; TrackingUnreachable within seconds if not.

    The store is MLFLOW_TRACKING_URI, else sqlite:///mlflow.db at the top of the repository.
    """
    # At INFO, MLflow tells of its database tables and of where it copies a model.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    if not mlflow.is_tracking_uri_set():
        mlflow.set_tracking_uri(f"sqlite:///{HOME / 'mlflow.db'}")
    uri = _without_login(mlflow.get_tracking_uri())
    if uri.startswith(("http://", "https://")):
        try:
            requests.get(f"{uri.rstrip('/')}/health", timeout=5)
        except requests.RequestException as error:
            raise TrackingUnreachable(
                f"no MLflow tracking server answers at {_bare(uri)} ({type(error).__name__}). Start it, correct "
                "MLFLOW_TRACKING_URI, or unset it to use the embedded store."
            ) from None
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return MlflowClient()


def _without_login(uri: str) -> str:
    """The tracking server's address; user and password that it carries go where MLflow looks for them.

    MLflow prints the address at the end of a run, and errors of requests show it.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    if not (parts.username and parts.password):  # MLflow knows no login of one part: it stays, and is not printed
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    mlflow.set_tracking_uri(_bare(uri))
    return _bare(uri)


def _bare(uri: str) -> str:
    """An address without the login that it may carry."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextlib.contextmanager
def tracked_run(
    settings: Settings,
    entry: str,
    params: Mapping[str, Any],
    nested: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Iterator[mlflow.ActiveRun]:
    """Open a run for one entry point, log its parameters and common tags, and close it with its outcome.

    Inside `mlflow run` the run that MLflow made is taken over. A known error ends the run as FAILED with the
    error's line as the tag `error`, and is raised even where MLflow does not answer any more.
    """
    client = connect(settings)
    if not nested and "MLFLOW_RUN_ID" not in os.environ:
        _use_experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", settings.experiment))
    named = None if "MLFLOW_RUN_ID" in os.environ and not nested else f"{entry} {params.get('features', '')}".strip()
    failure: LeadScoringError | None = None
    try:
        with mlflow.start_run(run_name=named, nested=nested) as run:
            mlflow.set_tags({"entry_point": entry, **_code_tags(), **(tags or {})})
            known = client.get_run(run.info.run_id).data.params
            mlflow.log_params({k: v for k, v in params.items() if k not in known})
            try:
                yield run
            except LeadScoringError as error:
                failure = error
                mlflow.set_tag("error", str(error)[:4900])
                raise
    except MlflowException:
        if failure is None:
            raise
        raise failure from None


def _use_experiment(client: MlflowClient, name: str) -> None:
    """Make an experiment active, creating or restoring it where needed."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    made = mlflow.set_experiment(name)
    if found is None:
        # The UI then opens the experiment as one of models, not of prompts.
        client.set_experiment_tag(made.experiment_id, "mlflow.experimentKind", "custom_model_development")


def _code_tags() -> dict[str, str]:
    """The commit of the code, where it runs from a git checkout and git is there."""
    command = ["git", "-C", str(CODE), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return {}
    return {"git_commit": said} if said else {}


def log_figures(figures: Mapping[str, "Figure"], folder: str = "plots") -> None:
    """Log matplotlib figures as PNG files under the run's artifact folder."""
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"{folder}/{name}.png", save_kwargs={"dpi": 110})


def model_signature(fields: tuple[LeadField, ...]) -> ModelSignature:
    """What a model takes (every field optional: a lead may not have answered) and gives."""
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double if f.kind is Kind.NUMERIC else DataType.string, f.name, required=False) for f in fields
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(DataType.double)]))


@dataclass(frozen=True)
class LoggedModel:
    """Where a model was logged, and how long that took (seconds)."""

    uri: str
    seconds: float


def log_model(model: "PipelineModel", fields: tuple[LeadField, ...], example: "DataFrame") -> LoggedModel:
    """Log a fitted pipeline by mlflow.spark with signature, an input example of five leads and pinned requirements.

    `example` holds leads, of which five are stored. Naming the requirements saves MLflow a 20-second inference of them.
    MLflow would load the saved model and score the example once more, for half of the time that logging takes: the gate
    loads every candidate and scores far more leads.
    """
    start = time.monotonic()
    rows = input_example(example, fields)
    with tempfile.TemporaryDirectory(prefix="lead-scoring-") as scratch, warnings.catch_warnings(), _example_as_it_is():
        warnings.simplefilter("ignore")
        logged = mlflow.spark.log_model(
            model,
            "model",
            signature=model_signature(fields),
            input_example=rows,
            pip_requirements=[f"{name}=={version(name)}" for name in MODEL_PACKAGES],
            dfs_tmpdir=os.environ.get("MLFLOW_DFS_TMP", scratch),
        )
    return LoggedModel(logged.model_uri, time.monotonic() - start)


def input_example(leads: "DataFrame", fields: tuple[LeadField, ...]) -> "pd.DataFrame":
    """Five of the leads with the most answers: of a column without any value MLflow knows no type."""
    from pyspark.sql import functions as F

    names = [f.name for f in fields]
    unanswered = reduce(operator.add, (F.col(name).isNull().cast("int") for name in names))
    return leads.select(*names).orderBy(unanswered, *names).limit(5).toPandas()


@contextlib.contextmanager
def _example_as_it_is() -> Iterator[None]:
    """Keep MLflow from serving an input example when a model is logged; mlflow.spark has no parameter for that."""
    name = "_validate_serving_input"
    before = getattr(mlflow.models.utils, name, None)
    if before is None:  # another MLflow: it takes its time
        yield
        return
    setattr(mlflow.models.utils, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(mlflow.models.utils, name, before)


def register_model(name: str, model: LoggedModel, tags: Mapping[str, str]) -> int:
    """Make a registry version of a logged model; its number.

    The tags go in together with the version, so that no version is ever seen without them.
    """
    # MLflow tells on stderr what the caller says better.
    with contextlib.redirect_stderr(io.StringIO()):
        return int(mlflow.register_model(model.uri, name, tags=dict(tags)).version)
