"""The TPE search: seeded, resumable, patient; and its search space."""

from pathlib import Path

import pytest

from evaluation.tpe import SearchSpace, best, restored, search
from features.contract_file import ContractError, load_yaml, parse_yaml
from features.stages import ForestParams

BASE = ForestParams()
SPACE = Path(__file__).resolve().parents[2] / "conf" / "search_space.yaml"


@pytest.fixture(scope="module")
def space():
    return load_yaml(SPACE, SearchSpace)


def far_from_120_trees(number, values, params):
    return abs(params.trees - 120) / 100


def run(space, max_evals=12, patience=0, seed=3, finished=(), objective=far_from_120_trees):
    return search(space, objective, max_evals=max_evals, patience=patience, seed=seed, base=BASE, finished=finished)


def test_the_same_seed_gives_the_same_trials(space):
    assert run(space) == run(space)


def test_another_seed_gives_other_trials(space):
    assert run(space, seed=4) != run(space)


def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(space):
    stored = [restored(t.number, t.values, t.loss, space, BASE) for t in run(space, max_evals=5)]
    assert run(space, finished=stored) == run(space)


def test_a_resumed_search_does_not_repeat_finished_trials(space):
    tried = []

    def noting(number, values, params):
        tried.append(number)
        return far_from_120_trees(number, values, params)

    run(space, max_evals=7, finished=run(space, max_evals=5), objective=noting)
    assert tried == [5, 6]


def test_patience_ends_a_search_that_does_not_improve(space):
    assert len(run(space, max_evals=50, patience=4, objective=lambda *_: 1.0)) == 5


def test_the_best_of_equal_trials_is_the_earliest(space):
    assert best(run(space, max_evals=3, objective=lambda *_: 1.0)).number == 0


def test_every_trial_lies_within_the_space(space):
    trees = [t.params.trees for t in run(space)]
    assert all(20 <= n <= 200 and n % 10 == 0 for n in trees)


def test_a_space_with_an_unknown_parameter_is_refused_by_name():
    with pytest.raises(ContractError, match="leaves=5"):
        parse_yaml("leaves: {choices: [5]}", SearchSpace, "space.yaml")


def test_a_space_beyond_a_parameters_range_is_refused_with_the_value():
    with pytest.raises(ContractError, match="depth=31"):
        parse_yaml("depth: {low: 2, high: 31}", SearchSpace, "space.yaml")


def test_a_dimension_with_choices_and_a_range_is_refused():
    with pytest.raises(ContractError, match="either choices"):
        parse_yaml("depth: {low: 2, high: 5, choices: [3]}", SearchSpace, "space.yaml")
