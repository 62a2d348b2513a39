"""The entry points `sweep_cv` and `sweep_hyperopt` from prepared leads to nested runs and a version of the winner."""

from types import SimpleNamespace

import mlflow
import pytest
from mlflow import MlflowClient
from pyspark.ml import Pipeline

from evaluation.tpe import SearchSpace
from pipelines.prepare import run_prepare
from pipelines.sweep_cv import run_sweep_cv
from pipelines.sweep_hyperopt import Sweep, run_sweep_hyperopt
from tests.leads import small_csv
from tests.served import small_store

TRIALS = 3


@pytest.fixture(scope="module")
def settings(spark, tmp_path_factory):
    """Small leads, prepared, and a tracking store of the module's own."""
    folder = tmp_path_factory.mktemp("sweeps")
    with small_store(folder) as made:
        run_prepare(spark, made, str(small_csv(folder / "leads.csv", 400)))
        yield made


def left_by(run_id):
    """What a sweep left: its run, its nested runs and the paths of its artifacts."""
    client = MlflowClient()
    run = client.get_run(run_id)
    inside = f"tags.`mlflow.parentRunId` = '{run_id}'"
    return SimpleNamespace(
        run=run,
        nested=client.search_runs([run.info.experiment_id], inside),
        paths={f.path for folder in ("", "plots") for f in client.list_artifacts(run_id, folder or None)},
    )


@pytest.fixture(scope="module")
def grid(spark, settings):
    """A sweep of two candidates, and how often features were encoded for it."""
    fit, encoders = Pipeline.fit, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "fit", lambda *given: encoders.append(1) or fit(*given))
        reported = run_sweep_cv(spark, settings, "available", "trees=2,4;depth=2", folds=2, explain=False)
    return SimpleNamespace(reported=reported, encoders=len(encoders), **vars(left_by(reported.run_id)))


def test_each_candidate_is_a_nested_run_with_its_parameters_and_metric(grid):
    found = {(run.data.params["trees"], run.data.params["depth"]): run.data.metrics for run in grid.nested}
    assert set(found) == {("2", "2"), ("4", "2")}
    assert all(0.5 < metrics["cv_auc_roc_mean"] <= 1 for metrics in found.values()), found


def test_the_best_candidate_is_the_one_that_is_registered(grid):
    best = max(grid.nested, key=lambda run: run.data.metrics["cv_auc_roc_mean"])
    assert grid.run.data.params["trees"] == best.data.params["trees"]
    assert grid.reported.version is not None


def test_features_are_encoded_once_for_a_sweep(grid):
    assert grid.encoders == 1


def test_a_sweep_leaves_its_table_and_its_picture(grid):
    assert {"candidates.csv", "plots/candidates.png"} <= grid.paths


@pytest.fixture(scope="module")
def searched(spark, settings):
    """A search that ended after three trials, and the same again with one trial more."""
    axis = {"low": 1, "high": 4, "step": 1}
    space = SearchSpace.model_validate({"trees": axis, "depth": axis})

    def run(trials):
        sweep = Sweep("available", space, max_evals=trials, folds=2, patience=0)
        return run_sweep_hyperopt(spark, settings, sweep, register=False, explain=False)

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sweep_hyperopt.fit_servable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(TRIALS)
    first = left_by(mlflow.last_active_run().info.run_id)
    return SimpleNamespace(first=first, second=left_by(run(TRIALS + 1).run_id))


def test_each_trial_of_a_search_is_a_nested_run(searched):
    assert len(searched.first.nested) == TRIALS


def test_a_search_goes_on_from_the_trials_of_one_that_was_interrupted(searched):
    assert searched.second.run.data.tags["resumed_trials"] == str(TRIALS)
    assert len(searched.second.nested) == TRIALS + 1
