"""The demo's promotion: the best version that passes the gate."""

import pytest
from rich.console import Console

from pipelines import demo
from pipelines.promote import GateRefused, NoCandidate, Promotion
from pipelines.settings import Settings


def promoting(monkeypatch, best_first, passing):
    """The demo's step over a registry with these versions, of which some pass; and what was shown."""
    console = Console(record=True, width=200)

    def run_promote(spark, settings, reason, passed_over):
        left = [v for v in best_first if v not in passed_over]
        if not left:
            raise NoCandidate("no version")
        if left[0] not in passing:
            raise GateRefused(f"version {left[0]} is not promoted: City=[/x]", left[0])
        return Promotion("m", left[0], None, changed=True)

    monkeypatch.setattr(demo, "run_promote", run_promote)
    return (lambda: demo._promote(None, None, console, lambda words: None)), console


def test_the_demo_promotes_the_next_best_where_the_gate_refuses_the_best(monkeypatch):
    promote, console = promoting(monkeypatch, [4, 2, 3], {2, 3})
    assert promote().version == 2
    assert "version 4 is not promoted" in console.export_text()


def test_the_demo_ends_with_the_best_version_s_refusal_where_none_passes(monkeypatch):
    promote, _ = promoting(monkeypatch, [4, 2], set())
    with pytest.raises(GateRefused, match="version 4"):
        promote()


def test_the_demo_stops_where_production_moved_meanwhile(monkeypatch):
    promote, _ = promoting(monkeypatch, [4], {4})
    monkeypatch.setattr(demo, "run_promote", lambda *a, **k: (_ for _ in ()).throw(GateRefused("Production moved")))
    with pytest.raises(GateRefused, match="moved"):
        promote()


def test_the_demo_s_last_words_keep_new_runs_in_its_experiment(monkeypatch):
    monkeypatch.setattr(demo.mlflow, "get_experiment_by_name", lambda name: None)
    told = demo.closing(Settings(experiment="spring"))
    assert "train -P trees=200 --env-manager local --experiment-name spring\n" in told
