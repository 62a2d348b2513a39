"""A server that does not answer, told from an artifact that is missing."""

import pytest
import requests
from mlflow.exceptions import MlflowException

from serving.away import is_away
from tests.service_process import free_ports


def closed_port() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}/"


def test_a_port_that_nothing_listens_on_is_away():
    with pytest.raises(requests.ConnectionError) as failed:
        requests.get(closed_port(), timeout=5)
    assert is_away(failed.value)


def test_what_followed_from_a_server_that_is_away_is_too():
    error = MlflowException("no model")
    error.__cause__ = ConnectionResetError()
    assert is_away(error)


@pytest.mark.parametrize(
    "words",
    [
        "An error occurred while calling o63.load.\n: java.net.ConnectException: Connection refused",
        "API request to endpoint /api/2.0/mlflow-artifacts failed with error code 503 != 200.",
        "##### File model/MLmodel #####\nConnectionError(MaxRetryError('Max retries exceeded with url'))",
        'Could not connect to the endpoint URL: "https://leads.s3.amazonaws.com/"',
        "An error occurred (SlowDown) when calling the GetObject operation",
    ],
)
def test_failures_that_are_told_in_words_are_away(words):
    assert is_away(MlflowException(words))


@pytest.mark.parametrize(
    "words",
    [
        "No such file or directory: '/models/502/MLmodel'",
        "API request to endpoint /api/2.0/mlflow-artifacts failed with error code 404 != 200.",
        "An error occurred (AccessDenied) when calling the GetObject operation",
        "Input path does not exist: file:/models/sparkml/metadata",
    ],
)
def test_what_is_missing_or_refused_is_not_away(words):
    assert not is_away(MlflowException(words))
