"""`mlflow models serve` on a compiled model: the client of docs/serving.md, and requests that are refused."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import requests

from features.contract import Kind
from pipelines.compiled import log_scorer
from pipelines.settings import ROOT
from tests.forests import a_stump
from tests.service_process import HOST, Service

CLIENT = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.S)[0]


class ScoringServer(Service):
    """MLflow's scoring server for a model that lies in the folder `model`."""

    start_seconds = 180

    def prepare(self) -> None:
        """Nothing: the model is there."""

    def command(self) -> list[str]:
        """The command of docs/serving.md, in the environment of the tests."""
        served = ["serve", "-m", str(self.folder / "model"), "--env-manager", "local"]
        return [sys.executable, "-m", "mlflow", "models", *served, "-h", HOST, "-p", str(self.port)]

    def options(self) -> dict[str, Any]:
        """Without what the tests tell MLflow, and without Java; uvicorn is found beside the Python that runs them."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        told = {"PATH": path, "JAVA_HOME": "/nonexistent", "MLFLOW_DISABLE_TELEMETRY": "true"}
        return {"env": {**kept, **told}, "cwd": self.folder}

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return requests.get(f"http://{HOST}:{self.port}/ping", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def server(contract, tmp_path_factory):
    """A stump of the shipped contract behind MLflow's scoring server; its address and a lead it accepts."""
    folder = tmp_path_factory.mktemp("serving")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    try:
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("s", (folder / "artifacts").as_uri()))
        fields = contract.feature_set("available")
        lead = {f.name: 1.0 if f.kind is Kind.NUMERIC else "No" for f in fields}
        with mlflow.start_run():
            info = log_scorer(a_stump(fields), fields, pd.DataFrame([lead]), {})
        mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(folder / "model"))
    finally:
        mlflow.set_tracking_uri(before)
    with ScoringServer(folder) as scoring:
        yield f"http://{HOST}:{scoring.port}/invocations", lead


def test_the_documented_client_gets_a_score(server, capsys):
    exec(CLIENT.replace("http://127.0.0.1:5001/invocations", server[0]), {})
    assert capsys.readouterr().out.split() == ["75.0", "0.75", "1", "None"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"City": 5}, "City is 5 (int), expected text or null"),
        ({"TotalVisits": "many"}, "TotalVisits"),
        ({"TotalVisits": -1}, "TotalVisits is -1, expected 0 to 100000 or null"),
        ({"City": "x" * 257}, "City has 257 characters, at most 256 are allowed"),
    ],
)
def test_a_lead_that_the_contract_refuses_is_answered_with_400(server, change, said):
    address, lead = server
    reply = requests.post(address, json={"dataframe_records": [{**lead, **change}]}, timeout=30)
    assert (reply.status_code, said in reply.text) == (400, True), reply.text


def test_a_misspelt_field_is_answered_with_400(server):
    address, lead = server
    wrong = {("Citty" if name == "City" else name): value for name, value in lead.items()}
    reply = requests.post(address, json={"dataframe_records": [wrong]}, timeout=30)
    assert reply.status_code == 400
    assert "lacks City" in reply.text


def test_a_request_that_is_no_json_is_answered_with_400(server):
    sent = requests.post(server[0], data="{", headers={"content-type": "application/json"}, timeout=30)
    assert sent.status_code == 400
