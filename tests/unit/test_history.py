"""The history of Production: from audit runs, and from versions' tags where a run is gone."""

from datetime import UTC, datetime

import mlflow
import pytest
from rich.console import Console

from pipelines.history import run_history, table
from pipelines.rollback import run_rollback
from pipelines.settings import Settings
from pipelines.tracking import tracked_run
from serving.registry import move_production


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """An empty store with a model of two versions without artifacts."""
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    client.create_registered_model("m")
    for _ in range(2):
        client.create_model_version("m", "/nowhere")
    yield Settings(model_name="m", experiment="e")
    mlflow.set_tracking_uri(before)


def audit(settings, version, decision, reason=""):
    """An audit run as promote leaves it, and the move where it was one."""
    with tracked_run(settings, "promote", {"version": version, "reason": reason}):
        mlflow.set_tags({"model_name": "m", "model_version": version, "decision": decision, "promoted_by": "kim"})
    if decision == "promoted":
        serve(version, reason)


def serve(version, reason=""):
    move_production(mlflow.MlflowClient(), "m", version, reason=reason, who="kim", now=datetime.now(UTC), gate={})


def test_nothing_happened_yet(settings):
    assert run_history(settings) == []


def test_events_are_told_newest_first_with_who_and_why(settings):
    audit(settings, 1, "promoted", "first")
    audit(settings, 2, "refused", "hope")
    audit(settings, 2, "promoted", "mended")
    run_rollback(settings, reason="complaints")
    events = run_history(settings)
    assert [(e.what, e.version, e.result, e.why) for e in events] == [
        ("rollback", "1", "rolled back", "complaints"),
        ("promote", "2", "promoted", "mended"),
        ("promote", "2", "refused", "hope"),
        ("promote", "1", "promoted", "first"),
    ]
    assert events[0].note == "instead of version 2"
    assert {e.who for e in events[1:]} == {"kim"}


def test_a_promotion_whose_audit_run_is_gone_is_told_from_the_version(settings):
    serve(1, "by hand")
    assert [(e.what, e.version, e.result, e.who, e.why) for e in run_history(settings)] == [
        ("version's tags", "1", "promoted", "kim", "by hand")
    ]


def test_the_history_of_another_model_is_not_told(settings):
    audit(settings, 1, "promoted")
    assert run_history(settings.model_copy(update={"model_name": "other"})) == []


def test_a_reason_that_looks_like_markup_is_shown_as_it_is(settings):
    audit(settings, 1, "promoted", "[red]now[/]")
    console = Console(width=200)
    with console.capture() as said:
        console.print(table(run_history(settings), "m"))
    assert "[red]now[/]" in said.get()
