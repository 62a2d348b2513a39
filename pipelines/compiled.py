"""Logging the compiled scorer beside the Spark model, once it has shown that it gives the same scores."""

import logging
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.samples import bounded
from evaluation.scorers import field_columns
from features.contract import LeadField
from pipelines.tracking import LoggedModel, model_signature
from serving.compiled.artifact import ADDRESS, DIFFERENCE, DIFFERS, FOLDER, OK, REFUSED, STATE
from serving.compiled.compiling import compile_saved
from serving.compiled.errors import CannotCompile
from serving.compiled.parity import GRADE, PROBABILITY, Parity, parity_with
from serving.compiled.scorer import CompiledScorer

NAME = "compiled"
COMPARED = 100_000
PACKAGES = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "pydantic")
# Code that the model carries: these modules, and those of serving.compiled that loading and scoring need.
CARRIED = ("features/blanks.py", "features/errors.py", "serving/errors.py")
LEFT_OUT = (
    "artifact.py",
    "compiling.py",
    "in_spark.py",
    "inputs.py",
    "lead_files.py",
    "local.py",
    "parity.py",
    "places.py",
    "saved_stages.py",
    "saved_trees.py",
)
# The rest of a package is found where the process has it, such as a notebook of this repository.
INIT = '''"""Part of the lead-scoring project, carried by a compiled model."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
'''

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedCompiled:
    """What became of compiling a model: `tags` for its registry version, and the scorer if it may be used.

    Of the tags, `compiled` is "ok", "differs" or "cannot compile: ..."; only with "ok" is there a scorer, and an
    artifact at `compiled_uri`.
    """

    tags: dict[str, str]
    scorer: CompiledScorer | None = None


def log_compiled(logged: LoggedModel, fields: tuple[LeadField, ...], scored: DataFrame) -> LoggedCompiled:
    """Compile a logged pipeline, compare it with Spark, and log it to the active run as `compiled`.

    `scored` are leads with the fields, `lead_group`, what Spark serves as `probability` (double) and, where the model
    gives it, `grade`; at most about 100,000 of them are compared, on the driver. The tags are set on the run as well.
    """
    start = time.monotonic()
    try:
        scorer = compile_logged(logged.uri, fields)
    except CannotCompile as error:
        return LoggedCompiled(_told({STATE: f"{REFUSED}: {error}"}, f"no compiled scorer: {error}"))
    found = parity_with(_compared_leads(scored, fields), scorer)
    tags = {DIFFERENCE: f"{found.max_difference:.3g}"}
    if not found.passed:
        return LoggedCompiled(_told({**tags, STATE: DIFFERS}, f"no compiled scorer: {_difference(found)}"))
    rows = scored.select(*field_columns(fields)).limit(2).toPandas()
    info = log_scorer(scorer, fields, rows, {"spark_model": logged.uri, "run_id": _run_id(), **tags})
    mlflow.log_metrics({"compiled_difference": found.max_difference, "log_compiled_seconds": time.monotonic() - start})
    return LoggedCompiled(_told({**tags, STATE: OK, ADDRESS: info.model_uri}), scorer)


def _compared_leads(scored: DataFrame, fields: tuple[LeadField, ...]) -> pa.Table:
    """The leads to compare on, with Spark's scores."""
    grade = F.col("grade") if "grade" in scored.columns else F.lit(None).cast("string")
    spark = [F.col("probability").alias(PROBABILITY), grade.alias(GRADE)]
    return bounded(scored, COMPARED).leads.select(*field_columns(fields), *spark).toArrow()


def compile_logged(uri: str, fields: tuple[LeadField, ...] = ()) -> CompiledScorer:
    """Compile the Spark pipeline that MLflow logged at `uri`; CannotCompile names what has no compiled form."""
    with tempfile.TemporaryDirectory(prefix="lead-scoring-compile-") as folder:
        saved = mlflow.artifacts.download_artifacts(artifact_uri=f"{uri}/sparkml", dst_path=folder)
        return CompiledScorer(compile_saved(Path(saved), fields))


def signature(fields: tuple[LeadField, ...]) -> ModelSignature:
    """What the compiled model takes (the Spark model's inputs) and gives."""
    outputs: list[Any] = [
        ColSpec(DataType.double, "score"),
        ColSpec(DataType.double, "probability"),
        ColSpec(DataType.long, "prediction"),
        ColSpec(DataType.string, "grade", required=False),
    ]
    params = ParamSchema([ParamSpec("check", DataType.boolean, True), ParamSpec("reasons", DataType.boolean, False)])
    return ModelSignature(inputs=model_signature(fields).inputs, outputs=Schema(outputs), params=params)


def log_scorer(scorer: CompiledScorer, fields: tuple[LeadField, ...], rows: pd.DataFrame, about: dict[str, str]) -> Any:
    """Log a scorer as an MLflow model named `compiled`; `rows` are its input example, `about` its metadata."""
    with tempfile.TemporaryDirectory(prefix="lead-scoring-compiled-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer.save(Path(folder) / FOLDER)
        code = carried_code(Path(folder) / "code")
        return mlflow.pyfunc.log_model(
            name=NAME,
            python_model=str(Path(folder) / "code" / "serving" / "compiled" / "mlflow_model.py"),
            artifacts={FOLDER: str(Path(folder) / FOLDER)},
            code_paths=code,
            signature=signature(fields),
            input_example=rows,
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
            metadata=about,
        )


def carried_code(folder: Path) -> list[str]:
    """The packages that a compiled model needs to load anywhere, written into a folder; their paths."""
    # Read as resources: under spark-submit the packages lie in a zip.
    sources = {name: files(name.split("/")[0]) / name.split("/")[1] for name in CARRIED}
    for source in files("serving.compiled").iterdir():
        if source.name.endswith(".py") and source.name not in LEFT_OUT:
            sources[f"serving/compiled/{source.name}"] = source
    for name, source in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    packages = [folder / "features", folder / "serving"]
    for package in packages:
        (package / "__init__.py").write_text(INIT, encoding="utf-8")
    (folder / "serving" / "compiled" / "__init__.py").write_text(INIT, encoding="utf-8")
    return [str(package) for package in packages]


def _told(tags: dict[str, str], warning: str = "") -> dict[str, str]:
    """The tags, set on the active run; a warning goes to the log."""
    short = {name: value[:500] for name, value in tags.items()}
    mlflow.set_tags(short)
    if warning:
        _logger.warning("%s; the Spark model serves", warning)
    return short


def _run_id() -> str:
    run = mlflow.active_run()
    return run.info.run_id if run else ""


def _difference(found: Parity) -> str:
    return (
        f"it differs from Spark by {found.max_difference:.3g} at most over {found.rows} leads (allowed "
        f"{found.tolerance:g}), {found.grades_differ} grades differ; worst: {found.worst[:1]}"
    )
