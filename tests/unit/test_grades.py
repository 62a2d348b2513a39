"""Grades: where their cuts lie and what they hold, on scores small enough to check by eye."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from evaluation.curves import ScoreBins
from evaluation.grade_plots import grades
from evaluation.grades import Capacity, GradeRow, GradeRule, GradeTable, Precision, grade_cuts
from features.grading import GradeCuts

# Ten bins of ten leads each; from the top 10, 9, 8 .. 1 of them converted.
STAIRS = ScoreBins(np.arange(1, 11), 10 - np.arange(1, 11), np.arange(10) + 0.5)


def by_precision(a, b, c, bins=STAIRS):
    return grade_cuts(bins, GradeRule(by="precision", precision=Precision(a=a, b=b, c=c)))


def by_capacity(leads, calls, bins=STAIRS):
    return grade_cuts(bins, GradeRule(by="capacity", capacity=Capacity(leads_per_day=leads, calls_per_day=calls)))


def table(*rates):
    rows = [GradeRow(g, 100, 0.25, round(100 * r), r, r - 0.05, r + 0.05) for g, r in zip("ABCD", rates, strict=True)]
    return GradeTable(tuple(rows))


def test_a_grade_takes_in_as_many_leads_as_its_precision_allows():
    # 10 + 9 + 8 of the best 30 is 0.9, with the next bin 0.85; the next 7 + 6 + 5 of 30 is 0.6; then 4 of 10.
    assert by_precision(0.9, 0.6, 0.4) == GradeCuts(a=0.7, b=0.4, c=0.3)


def test_a_grade_whose_precision_no_lead_reaches_lies_above_every_probability():
    poor = ScoreBins(np.full(10, 3), np.full(10, 7), np.arange(10) + 0.5)
    cuts = by_precision(0.9, 0.6, 0.2, poor)
    assert (cuts.a > 1, cuts.b > 1, cuts.c) == (True, True, pytest.approx(0, abs=1e-6))


def test_cuts_fall_even_where_one_grade_takes_in_every_lead():
    sure = ScoreBins(np.full(10, 9), np.full(10, 1), np.arange(10) + 0.5)
    cuts = by_precision(0.8, 0.5, 0.2, sure)
    assert cuts.a > cuts.b > cuts.c > 0


def test_grade_a_holds_the_leads_that_are_called_in_a_day():
    assert by_capacity(1000, 200).a == 0.8


def test_grades_b_and_c_hold_the_calls_of_the_next_two_days():
    cuts = by_capacity(1000, 200)
    assert (cuts.b, cuts.c) == (0.6, 0.4)


def test_a_team_that_can_call_everybody_grades_everybody_a():
    assert by_capacity(100, 500).a == pytest.approx(0, abs=1e-6)


def test_a_capacity_finer_than_the_fullest_bin_leaves_grade_a_empty():
    one_bin = ScoreBins(np.array([0, 50]), np.array([0, 50]), np.array([0.0, 50.0]))
    assert by_capacity(1000, 10, one_bin).a > 1


def test_cuts_that_do_not_fall_are_refused():
    with pytest.raises(ValidationError, match=r"must fall from A to C; found 0\.5, 0\.6, 0\.2"):
        GradeCuts(a=0.5, b=0.6, c=0.2)


def test_a_table_in_which_a_worse_grade_converts_more_is_not_monotone():
    assert (table(0.9, 0.6, 0.3, 0.1).monotone, table(0.9, 0.3, 0.6, 0.1).monotone) == (True, False)


def test_an_empty_grade_does_not_break_the_order():
    a, b, _, d = table(0.9, 0.6, 0.3, 0.1).rows
    assert GradeTable((a, b, GradeRow("C", 0, 0.0, 0, None, None, None), d)).monotone


def test_the_picture_shows_the_mean_score_of_every_grade():
    rows = [replace(row, mean_score=row.rate + 0.02) for row in table(0.9, 0.6, 0.3, 0.1).rows]
    shown = [
        line for line in grades(GradeTable(tuple(rows)), "a model").axes[0].lines if line.get_label() == "mean score"
    ]
    assert [list(line.get_ydata()) for line in shown] == [pytest.approx([0.92, 0.62, 0.32, 0.12])]


def test_the_picture_shows_the_mean_score_before_calibration_where_it_is_known():
    rows = [replace(row, mean_score_uncalibrated=0.5) for row in table(0.9, 0.6, 0.3, 0.1).rows[:2]]
    label = "mean score before calibration"
    told = [line for line in grades(GradeTable(tuple(rows)), "a model").axes[0].lines if line.get_label() == label]
    assert [list(line.get_ydata()) for line in told] == [[0.5, 0.5]]
    assert label not in [line.get_label() for line in grades(table(0.9, 0.6, 0.3, 0.1), "a model").axes[0].lines]


def test_no_score_stands_on_the_rate_that_is_written_over_a_bar():
    rows = [replace(row, mean_score_uncalibrated=0.5) for row in table(0.9, 0.6, 0.3, 0.1).rows]
    heights = {t.get_text(): t.get_position()[1] for t in grades(GradeTable(tuple(rows)), "a model").axes[0].texts}
    assert heights["10%"] > 0.52


def test_the_picture_names_every_grade_with_its_leads():
    labels = [t.get_text() for t in grades(table(0.9, 0.6, 0.3, 0.1), "a model").axes[0].get_xticklabels()]
    assert labels[0] == "A\n100 leads (25%)"
