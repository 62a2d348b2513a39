"""`serve` as a process: it answers by the Production version, takes up a promotion, and ends on SIGTERM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient

from features.contract import Kind
from pipelines.compiled import log_scorer
from pipelines.serve import _listening
from pipelines.settings import ROOT
from tests.forests import a_stump

NAME = "stumps"


def registered(client, fields, lead, high) -> None:
    with mlflow.start_run() as run:
        info = log_scorer(a_stump(fields, high), fields, pd.DataFrame([lead]), {})
        tags = {"compiled": "ok", "compiled_uri": info.model_uri}
        client.create_model_version(NAME, info.model_uri, run.info.run_id, tags=tags)


@pytest.fixture(scope="module")
def registry(contract, tmp_path_factory):
    """Two stumps in a registry, the first in Production; the store's address, a client and a lead."""
    folder = tmp_path_factory.mktemp("serve")
    before, store = mlflow.get_tracking_uri(), f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(store)
    try:
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("s", (folder / "artifacts").as_uri()))
        client, fields = MlflowClient(), contract.feature_set("available")
        lead = {f.name: 1200.0 if f.kind is Kind.NUMERIC else "No" for f in fields}
        client.create_registered_model(NAME)
        for high in (0.75, 0.5):
            registered(client, fields, lead, high)
        client.set_registered_model_alias(NAME, "Production", "1")
        yield store, MlflowClient(store, store), lead
    finally:
        mlflow.set_tracking_uri(before)


def serving(store, *words) -> subprocess.Popen[str]:
    own = {"MLFLOW_TRACKING_URI": store, "LEADS_MODEL_NAME": NAME, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "pipelines.serve", "--poll", "100 ms", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=pipe, stderr=pipe, text=True)


def test_a_lead_is_answered_a_promotion_taken_up_and_sigterm_obeyed(registry):
    store, client, lead = registry
    client.set_registered_model_alias(NAME, "Production", "1")
    process = serving(store, "--port", "0")
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        first = requests.post(url, json=lead, timeout=30).json()
        assert (first["score"], first["model_version"]) == (75.0, 1)
        client.set_registered_model_alias(NAME, "Production", "2")
        deadline, version = time.monotonic() + 60, 1
        while version == 1 and time.monotonic() < deadline:
            version = requests.post(url, json=lead, timeout=30).json()["model_version"]
        assert version == 2
        refused = requests.post(url, json=lead | {"City": 5}, timeout=30)
        assert (refused.status_code, "City" in refused.json()["error"]) == (400, True)
        assert requests.post(url, data=b"[" + b" " * (5 * 2**20), timeout=30).status_code == 413
        ready = requests.get(url.replace("/score", "/readyz"), timeout=30)
        assert (ready.status_code, ready.json()["version"]) == (200, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_half_a_request_does_not_keep_it_from_ending(registry):
    process = serving(registry[0], "--port", "0")
    try:
        url = urlsplit(json.loads(process.stdout.readline())["url"])
        with socket.create_connection((url.hostname, url.port)) as client:
            client.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert requests.get(f"http://{url.netloc}/healthz", timeout=30).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert client.recv(100).startswith(b"HTTP/1.1 408 ")
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_is_named_with_exit_code_2(registry):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = serving(registry[0], "--port", str(taken.getsockname()[1]))
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "name another port" in said) == (2, True), said


def test_no_production_version_is_said_with_exit_code_2(registry):
    process = serving(registry[0], "--port", "0", "--version", "Staging")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Staging" in said


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_beginning():
    with _listening("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
