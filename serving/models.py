"""Loading the model of a registry version, whole, leaving nothing behind on disk."""

import logging

import mlflow
from mlflow.exceptions import MlflowException
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from features.storage import Storage
from serving.away import is_away
from serving.errors import Away, ServingError, one_line
from serving.model_copies import local_copy, shared_copy
from serving.registry import ResolvedVersion


class ModelUnreadable(ServingError):
    """The artifact of a registry version is missing or damaged, or is not a Spark pipeline."""


class StoreAway(ModelUnreadable, Away):
    """The artifact store of a registry version does not answer."""


class SignatureMissing(ServingError):
    """A registry version was logged without a signature."""


def load_version(spark: SparkSession, version: ResolvedVersion) -> PipelineModel:
    """Load the Spark pipeline of a registry version; see `load_pipeline`."""
    return load_pipeline(spark, version.uri, f"{version.name} version {version.version}")


def load_pipeline(spark: SparkSession, uri: str, called: str) -> PipelineModel:
    """Load a Spark pipeline from a model's address, by the tracking store that MLflow points at.

    The artifact is downloaded to a temporary folder of its own (TMPDIR; on a cluster whose default file system
    is not local, also to MLFLOW_DFS_TMP). Both copies are gone on return: Spark has read every stage into memory
    by then. ModelUnreadable, which names the model as `called`, where the artifact is missing or damaged; StoreAway,
    which is one, where its store does not answer.
    """
    # MLflow says at INFO that a models:/ address is no path, on every load.
    logging.getLogger("mlflow.spark").setLevel(logging.WARNING)
    dfs_copy = shared_copy()
    with local_copy() as folder:
        try:
            model = mlflow.spark.load_model(uri, dfs_tmpdir=dfs_copy, dst_path=folder)
        except Exception as error:  # MLflow, Hadoop, Py4J and the JSON reader each raise their own
            raise _unreadable(called, error) from error
        finally:
            Storage(spark).delete(dfs_copy)
    if not isinstance(model, PipelineModel):
        raise ModelUnreadable(
            f"{called} holds a {type(model).__name__}, not a Spark PipelineModel; "
            "promote a version that train or a sweep has registered."
        )
    return model


def required_columns(version: ResolvedVersion) -> tuple[str, ...]:
    """Names of the lead fields that a version takes, in the order of its MLflow signature.

    SignatureMissing where it was logged without one; ModelUnreadable where its MLmodel file cannot be read.
    """
    return tuple(typed_columns(version))


def typed_columns(version: ResolvedVersion) -> dict[str, str]:
    """Names and MLflow types (`double`, `string`, ..) of the lead fields that a version takes, by its signature.

    SignatureMissing where it was logged without one; ModelUnreadable where its MLmodel file cannot be read.
    """
    with local_copy() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(artifact_uri=f"{version.uri}/MLmodel", dst_path=folder)
            signature = mlflow.models.Model.load(path).signature
        except (MlflowException, OSError, ValueError) as error:
            raise _unreadable(f"{version.name} version {version.version}", error) from error
    if signature is None or not signature.inputs:
        raise SignatureMissing(
            f"{version.name} version {version.version} was logged without a signature, so the columns it takes are "
            "unknown; log it with one, or promote a version that train or a sweep has registered."
        )
    return {spec.name: str(getattr(spec.type, "name", spec.type)) for spec in signature.inputs.inputs}


def _unreadable(called: str, error: Exception) -> ModelUnreadable:
    said = one_line(error)
    if is_away(error):
        return StoreAway(
            f"{called} cannot be loaded: its artifact store does not answer ({said}). Start it, or correct its address."
        )
    return ModelUnreadable(
        f"{called} cannot be loaded: its artifact is missing or "
        f"damaged ({said}). Restore the artifact store, or serve another version (`mlflow run . -e rollback`)."
    )
