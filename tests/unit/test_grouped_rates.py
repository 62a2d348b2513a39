"""Rates among repeated leads: what repeats are worth, on groups small enough to check by eye."""

import numpy as np
import pytest

from evaluation.bootstrap import resampled
from evaluation.curves import wilson_interval
from evaluation.grouped_rates import GroupedRate


def kinds(*groups):
    """Groups by kind: (leads in each, converted ones in each, how many such groups)."""
    return GroupedRate(*(np.array(column) for column in zip(*groups, strict=True)))


# 90 single leads, of which 40 converted, and a group of 10 that did not convert.
ONE_LARGE = kinds((1, 1, 40), (1, 0, 50), (10, 0, 1))


def test_without_repeats_the_interval_is_wilson_s():
    low, high = wilson_interval(np.array([40]), np.array([100]))
    assert kinds((1, 1, 40), (1, 0, 60)).interval() == pytest.approx((low[0], high[0]), abs=2e-3)


def test_leads_that_all_do_as_their_repeats_count_once():
    assert kinds((5, 5, 40), (5, 0, 60)).effective == pytest.approx(100)


def test_leads_that_do_as_they_like_count_each():
    # As the binomial distribution of five leads at a rate of one half has it.
    freely = kinds(*((5, won, ways) for won, ways in enumerate((1, 5, 10, 10, 5, 1))))
    assert freely.effective == pytest.approx(freely.n, rel=0.04)


def test_groups_that_all_convert_at_the_rate_count_every_lead():
    assert kinds((2, 1, 50)).effective == 100


def test_a_large_group_widens_the_interval():
    alone, grouped = (kinds((1, 1, 40), (1, 0, 60)).interval(), ONE_LARGE.interval())
    assert grouped[1] - grouped[0] > 1.05 * (alone[1] - alone[0])


@pytest.mark.parametrize("won", [0, 1])
def test_where_all_leads_do_the_same_repeats_count_as_little_as_they_can(won):
    # 40 leads: 20^2 + 20 single ones, 1600 / 420.
    assert kinds((20, 20 * won, 1), (1, won, 20)).effective == pytest.approx(1600 / 420)


def test_one_group_is_one_lead():
    assert kinds((50, 25, 1)).effective == 1


def test_the_interval_is_that_of_a_bootstrap_by_groups():
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(600), rng.choice([1, 1, 1, 2, 8], 600))
    labels = (rng.random(len(codes)) < rng.beta(1, 2, 600)[codes]).astype(np.int8)
    drawn = np.concatenate([w @ labels.astype(np.float32) / w.sum(axis=1) for w in resampled(codes, 2000, 1)])
    assert GroupedRate.of(codes, labels).interval() == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.005)


def test_single_leads_are_counted_by_their_group():
    found = GroupedRate.of(np.array([7, 7, 7, 2, 2, 5]), np.array([1, 0, 0, 1, 1, 0], np.int8))
    assert (found.n, found.hits, found.distinct, found.of_the_rarer_class) == (6, 3, 3, 2)


def test_the_ends_may_be_those_of_a_rate_known_from_more_leads():
    assert kinds((1, 1, 40), (1, 0, 60)).interval(0.6) == pytest.approx(kinds((1, 1, 60), (1, 0, 40)).interval())


def test_without_leads_the_rate_is_anything():
    assert GroupedRate.of(np.array([], np.int64), np.array([], np.int8)).interval() == (0.0, 1.0)
