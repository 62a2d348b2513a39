"""Runs that are tracked: what goes wrong in them is told, and models are logged without serving an example."""

import os
import re

import mlflow
import mlflow.models.utils as utils
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.settings import Settings
from pipelines.tracking import TrackingUnreachable, _example_as_it_is, connect, tracked_run
from serving.errors import ServingError


def test_what_a_run_fails_with_is_raised_though_mlflow_does_not_answer_any_more(tmp_path, monkeypatch):
    def away(*asked, **named):
        raise MlflowException("no answer")

    def fail() -> None:
        with tracked_run(Settings(), "stream", {}):
            monkeypatch.setattr(MlflowClient, "set_tag", away)
            monkeypatch.setattr(MlflowClient, "set_terminated", away)
            raise ServingError("no route")

    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        with pytest.raises(ServingError, match="no route"):
            fail()
    finally:
        mlflow.set_tracking_uri(before)


def test_a_login_in_the_tracking_address_goes_where_mlflow_looks_for_it_and_is_shown_nowhere(monkeypatch):
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "another")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://sales:s3cret%40word@127.0.0.1:9/ml")
    try:
        with pytest.raises(TrackingUnreachable, match=re.escape("at http://127.0.0.1:9/ml (ConnectionError)")):
            connect(Settings())
        assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9/ml"
        assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == (
            "sales",
            "s3cret@word",
        )
    finally:
        mlflow.set_tracking_uri(before)


def test_a_login_of_one_part_in_the_tracking_address_stays_there_and_is_not_shown(monkeypatch):
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "another")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://s3cret-token:@127.0.0.1:9")
    try:
        with pytest.raises(TrackingUnreachable) as refused:
            connect(Settings())
        assert "s3cret" not in str(refused.value)
        assert mlflow.get_tracking_uri() == "http://s3cret-token:@127.0.0.1:9"
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "another"
        assert os.environ.pop("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT") == "true"
    finally:
        mlflow.set_tracking_uri(before)


def test_an_example_is_not_served_while_a_model_is_logged_and_is_again_after_it():
    before = utils._validate_serving_input
    with _example_as_it_is():
        assert utils._validate_serving_input("models:/no-such-model/1", "{}") is None
    assert utils._validate_serving_input is before


def test_examples_are_served_again_after_a_model_that_could_not_be_logged():
    before = utils._validate_serving_input
    with pytest.raises(ZeroDivisionError), _example_as_it_is():
        raise ZeroDivisionError
    assert utils._validate_serving_input is before
