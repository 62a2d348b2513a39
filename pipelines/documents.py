"""The documents that a training writes of itself: model card, evaluation report, the version's description."""

import importlib
import inspect
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

from evaluation.evaluation_page import evaluation_page
from evaluation.model_card import description, model_card
from evaluation.model_facts import REPORTS, ModelFacts
from pipelines.settings import Settings

FOLDER, PLOTS = "documents", "plots"
TRAINERS = ("train", "sweep_cv", "sweep_hyperopt")


def log_documents(settings: Settings, manifest: Mapping[str, Any], run_id: str, version: int | None) -> None:
    """Write the documents of a run from what is on its record, and describe its version in the registry.

    Called last, when everything else is logged. What is not on the record is said to be missing. Leaves
    documents/model_card.md, documents/model_card.html and documents/evaluation.html in the run.
    """
    start, client = time.monotonic(), MlflowClient()
    facts = facts_of(client, settings, manifest, run_id, version)
    card = model_card(facts)
    pages = {
        "model_card.md": card.as_markdown(),
        "model_card.html": card.as_html(),
        "evaluation.html": evaluation_page(facts).as_html(),
    }
    for name, text in pages.items():
        client.log_text(run_id, text, f"{FOLDER}/{name}")
    if version is not None:
        client.update_model_version(settings.model_name, str(version), description(facts))
        page = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}/model_card.html"
        client.set_model_version_tag(settings.model_name, str(version), "model_card", page)
    client.log_metric(run_id, "documents_seconds", time.monotonic() - start)


def facts_of(
    client: MlflowClient, settings: Settings, manifest: Mapping[str, Any], run_id: str, version: int | None
) -> ModelFacts:
    """Everything on record of a run; parts that are not there are left out."""
    run = client.get_run(run_id)
    there = {a.path for folder in (None, PLOTS) for a in client.list_artifacts(run_id, folder)}
    with tempfile.TemporaryDirectory(prefix="lead-scoring-documents-") as folder:

        def read(path: str) -> bytes:
            return Path(
                mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder)
            ).read_bytes()

        reports = {path: json.loads(read(path)) for path in REPORTS if path in there}
        pictures = {path: read(path) for path in sorted(there) if path.startswith(PLOTS) and path.endswith(".png")}
    return ModelFacts(
        name=settings.model_name,
        version=version,
        run_id=run_id,
        params=run.data.params,
        tags=run.data.tags,
        metrics=run.data.metrics,
        reports=reports,
        pictures=pictures,
        manifest=manifest,
        contract=settings.contract(),
        asks=parameters_of(run.data.tags.get("entry_point", "")),
    )


def parameters_of(entry: str) -> tuple[str, ...]:
    """Names of the parameters of an entry point that trains; none of any other. MLproject lists the same."""
    if entry not in TRAINERS:
        return ()
    module = importlib.import_module(f"pipelines.{entry}")  # it imports this module, so it is found when it is needed
    return tuple(inspect.signature(getattr(module, entry)).parameters)
