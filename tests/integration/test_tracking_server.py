"""The whole way through a real MLflow tracking server: SQL backend, artifacts through HTTP."""

from pathlib import Path

import mlflow
import pyarrow.dataset as ds
import pytest
from mlflow import MlflowClient

from pipelines.documents import FOLDER
from pipelines.settings import Settings
from tests.commands import MlflowRun, Workplace
from tests.leads import small_csv

NAME = Settings().model_name


@pytest.fixture(scope="module")
def place(tmp_path_factory, mlflow_server):
    folder = tmp_path_factory.mktemp("through-http")
    place = Workplace.at(folder, mlflow_server.uri)
    place.must("prepare", "--csv", str(small_csv(folder / "leads.csv")), "--stream-files", "5")
    place.must("train", "--trees", "10", "--depth", "4")
    place.must("promote", "--reason", "first")
    place.must("stream", "--available-now", "true", "--sink", "parquet")
    return place


@pytest.fixture(scope="module")
def client(place):
    return MlflowClient(place.tracking_uri)


def test_every_entry_point_left_a_finished_run(place, client):
    experiment = client.get_experiment_by_name(Settings().experiment)
    runs = client.search_runs([experiment.experiment_id])
    finished = {r.data.tags["entry_point"] for r in runs if r.info.status == "FINISHED"}
    assert finished >= {"prepare", "train", "promote", "stream"}  # other tests leave runs on this server too


def test_artifacts_went_through_the_server(client):
    run_id = client.get_model_version_by_alias(NAME, "Production").run_id
    assert client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert "plots/roc.png" in {a.path for a in client.list_artifacts(run_id, "plots")}


@pytest.fixture(scope="module")
def version(client):
    return client.get_model_version_by_alias(NAME, "Production")


@pytest.fixture(scope="module")
def card(client, version):
    """The model card of the version in Production, as text."""
    path = client.download_artifacts(version.run_id, f"{FOLDER}/model_card.md")
    return Path(path).read_text(encoding="utf-8")


def test_a_training_leaves_its_documents_in_its_run(client, version):
    found = {a.path.removeprefix(f"{FOLDER}/") for a in client.list_artifacts(version.run_id, FOLDER)}
    assert found == {"model_card.md", "model_card.html", "evaluation.html"}


def test_a_version_is_described_by_what_its_model_card_says(version, card):
    (headline,) = [line for line in card.splitlines() if line.startswith("**")]
    assert headline.startswith("**ROC AUC 0.")
    assert version.description.startswith(headline)
    for limit in card.split("## Limits")[1].split("##")[0].strip().split("\n\n"):
        assert limit in version.description


def test_a_version_s_tag_leads_to_its_model_card(place, version):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(place.tracking_uri)
    page = mlflow.artifacts.load_text(version.tags["model_card"])
    mlflow.set_tracking_uri(before)
    assert f"<h1>Model card: {NAME} version {version.version}</h1>" in page


def test_the_card_s_command_asks_for_the_training_that_was_run(card):
    taken = MlflowRun.printed_in(card, "train").taken()
    assert (taken["trees"], taken["depth"], taken["features"]) == (10, 4, "available")


def test_the_stream_scored_every_lead_once_by_the_promoted_version(place, client):
    def ids(folder):
        return sorted(ds.dataset(folder, partitioning=None).to_table(columns=["LeadId"])["LeadId"].to_pylist())

    scores = ds.dataset(place.data / "scores" / "stream", partitioning=None).to_table()
    assert ids(place.data / "scores" / "stream") == ids(place.data / "stream")
    production = client.get_model_version_by_alias(NAME, "Production").version
    assert {str(v) for v in scores["model_version"].to_pylist()} == {production}


def test_a_repeated_promotion_changes_nothing(place, client):
    before = client.get_model_version_by_alias(NAME, "Production")
    place.must("promote", "--reason", "again")
    assert client.get_model_version_by_alias(NAME, "Production") == before
