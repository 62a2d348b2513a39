"""Lengths of time: how a trigger is written, and how long batches took."""

import pytest

from serving.queries import BadTrigger, Durations, parse_trigger


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("30 seconds", 30_000),
        ("500 ms", 500),
        ("250 milliseconds", 250),
        ("1 minute", 60_000),
        ("5s", 5000),
        ("0 s", 0),
    ],
)
def test_a_trigger_is_a_number_and_a_unit(text, milliseconds):
    assert parse_trigger(text) == milliseconds


@pytest.mark.parametrize("text", ["", "soon", "30", "-1 seconds", "1.5 s", "30 seconds ago", "3 fortnights"])
def test_anything_else_is_no_trigger(text):
    with pytest.raises(BadTrigger, match="no length of time"):
        parse_trigger(text)


def test_a_quantile_of_durations_is_one_of_them():
    durations = Durations()
    durations.milliseconds.extend([10, 20, 30, 40])
    assert [durations.quantile(q) for q in (0.25, 0.5, 0.95)] == [10, 20, 40]
