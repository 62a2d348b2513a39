"""The grid of sweep_cv as it is written on the command line."""

import pytest

from pipelines.sweep_cv import BadGrid, parse_grid


def test_a_grid_is_every_combination():
    found = {(c.trees, c.depth) for c in parse_grid("trees=10,20;depth=3,4", seed=1)}
    assert found == {(10, 3), (10, 4), (20, 3), (20, 4)}


def test_an_empty_grid_is_the_default_forest():
    assert [(c.trees, c.depth) for c in parse_grid("", seed=1)] == [(100, 10)]


def test_words_are_allowed_where_the_parameter_takes_words():
    assert [c.impurity for c in parse_grid("impurity=gini,entropy", seed=1)] == ["gini", "entropy"]


@pytest.mark.parametrize("grid", ["leaves=5", "trees", "trees=", "trees=1;trees=2"])
def test_a_part_that_cannot_be_read_is_named(grid):
    with pytest.raises(BadGrid, match="the grid's part"):
        parse_grid(grid, seed=1)


def test_a_value_out_of_range_is_named():
    with pytest.raises(BadGrid, match=r"depth.*31"):
        parse_grid("depth=31", seed=1)
