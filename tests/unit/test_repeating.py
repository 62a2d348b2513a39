"""How to make a model again: what a run logs is what its entry point takes, name by name and word by word."""

import mlflow
import pytest
from mlflow import MlflowClient

from evaluation.model_card import model_card
from evaluation.search import Candidate
from evaluation.tpe import SearchSpace
from features.contract_file import load_yaml
from features.errors import LeadScoringError
from features.stages import ForestParams
from pipelines.candidates import Picked
from pipelines.commands import Switch
from pipelines.datasets import Prepared
from pipelines.documents import TRAINERS, facts_of, parameters_of
from pipelines.settings import Settings
from pipelines.sweep_cv import run_sweep_cv
from pipelines.sweep_hyperopt import SPACE, Sweep, run_sweep_hyperopt
from pipelines.training import run_train
from tests.commands import ENTRIES, MlflowRun

SETTINGS = Settings(experiment="again")
MANIFEST = {"data_hash": "dd", "contract_hash": "cc", "split": "newest", "test_share": 0.25, "seed": 7}
GRID = "trees=5,10;depth=2"


class Stopped(LeadScoringError):
    """Stands for all that comes after the parameters are logged."""


def search(*_):
    """Stands for a search: what it found goes among the parameters, and the run ends."""
    Picked(Candidate(ForestParams(trees=5, depth=2), 0.9, 0.01, 1.0), "auc_roc").log()
    raise Stopped


def train(*_):
    """Stands for a training."""
    raise Stopped


RUNS = {
    "train": lambda: run_train(None, SETTINGS, "available", ForestParams(trees=5), register=False),
    "sweep_cv": lambda: run_sweep_cv(None, SETTINGS, "available", GRID, register=False),
    "sweep_hyperopt": lambda: run_sweep_hyperopt(
        None, SETTINGS, Sweep("available", load_yaml(SPACE, SearchSpace), max_evals=3, space_file=SPACE), register=False
    ),
}


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """The model card of a run of each entry point that trains, ended where the leads would be looked at."""
    store = f"sqlite:///{tmp_path_factory.mktemp('again') / 'mlflow.db'}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    yield {entry: card_of(entry) for entry in RUNS}
    mlflow.set_tracking_uri(before)


def card_of(entry):
    with pytest.MonkeyPatch.context() as patch:
        module = "training" if entry == "train" else entry
        patch.setattr(f"pipelines.{module}.load_prepared", lambda *_: Prepared(None, None, MANIFEST))
        patch.setattr(f"pipelines.{module}.probed_leads", train if entry == "train" else search)
        with pytest.raises(Stopped):
            RUNS[entry]()
    facts = facts_of(MlflowClient(), SETTINGS, MANIFEST, mlflow.last_active_run().info.run_id, None)
    return model_card(facts).as_markdown()


@pytest.fixture(params=TRAINERS)
def printed(request, cards):
    return MlflowRun.printed_in(cards[request.param], request.param)


@pytest.mark.parametrize("entry", TRAINERS)
def test_a_document_knows_the_parameters_of_an_entry_point_that_trains(entry):
    assert set(parameters_of(entry)) == set(ENTRIES[entry]["parameters"])


def test_the_printed_command_gives_every_parameter_of_its_entry_point_and_no_other(printed):
    assert set(printed.given) == set(ENTRIES[printed.entry]["parameters"])


def test_the_printed_values_are_those_that_the_run_was_asked_for(printed):
    taken = printed.taken()
    assert (taken["features"], taken["seed"], taken["register"]) == ("available", 42, Switch.FALSE)


def test_the_command_of_a_training_grows_the_same_forest(cards):
    taken = MlflowRun.printed_in(cards["train"], "train").taken()
    forest = {name: taken[name] for name in ForestParams.model_fields}
    assert ForestParams.model_validate(forest) == ForestParams(trees=5)


def test_the_command_of_a_sweep_gives_its_grid(cards):
    assert MlflowRun.printed_in(cards["sweep_cv"], "sweep_cv").taken()["grid"] == GRID


def test_the_command_of_a_search_names_its_space_as_the_repository_does(cards):
    given = MlflowRun.printed_in(cards["sweep_hyperopt"], "sweep_hyperopt").given
    assert (given["space"], given["max_evals"]) == ("conf/search_space.yaml", "3")


def test_a_space_from_elsewhere_is_named_by_where_it_lies(tmp_path):
    sweep = Sweep("available", load_yaml(SPACE, SearchSpace), space_file=tmp_path / "space.yaml")
    assert sweep.asked["space"] == str(tmp_path / "space.yaml")


def test_the_printed_preparation_is_that_of_the_leads(cards):
    taken = MlflowRun.printed_in(cards["train"], "prepare").taken()
    assert (taken["split"], taken["test_share"], taken["seed"]) == ("newest", 0.25, 7)
