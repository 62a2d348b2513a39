"""Pictures of leaks, importance, dependence, slices and comparisons: what they must carry."""

from dataclasses import replace

import pytest
from matplotlib.text import Text

from evaluation import comparison_plots, field_plots, slice_plots
from evaluation.bootstrap import Interval, Intervals
from evaluation.dependence import Dependence, DependenceReport, Interaction, Point
from evaluation.forest_without import ForestsWithout
from evaluation.leakage import LeakReport, Repeats, Suspect
from evaluation.look import NothingToPlot
from evaluation.permutation import FieldImportance, ImportanceReport
from evaluation.slices import Slice, SliceReport
from tests.unit.test_leak_rules import HONEST

SUBJECT = "random forest; test leads; run 1a2b3c4d"
SPAN = Interval(0.9, 0.88, 0.92)
FIELDS = (replace(HONEST, name="Tag", auc=0.93), HONEST)
SUSPECT = Suspect("Tag", "knows the outcome alone", "Tag knows.", declared_late=False)
LEAKS = LeakReport(5000, 5000, FIELDS, ForestsWithout(0.95, {"Tag": 0.9}, 20, 6), Repeats(10, 0, 0), (), (SUSPECT,))
IMPORTANCE = ImportanceReport(
    0.9, 1800, 2700, 3, tuple(FieldImportance(f"field{i}", Interval(0.1, 0.08, 0.12), 0.04) for i in range(25))
)
CURVES = DependenceReport(
    400,
    (
        Dependence("Seconds", True, "s", (Point(0.0, 0.3, 0.1, 0.5, 0.5), Point(90.0, 0.6, 0.4, 0.8, 0.5))),
        Dependence("City", False, "", (Point("Mumbai", 0.6, 0.4, 0.8, 0.7), Point(None, 0.3, 0.1, 0.5, 0.3))),
    ),
    50,
    (Interaction("Seconds", "City", 0.4, 0.05),),
)
GOOD = Slice(
    "City", "Mumbai", 900, 0.6, False, 0.4, 0.38, SPAN, Interval(0, -0.01, 0.01), SPAN, SPAN, {"A": 0.3, "D": 0.7}
)
SMALL = replace(GOOD, value="Pune $ $", leads=40, small=True)
BAD = replace(GOOD, value="Delhi", auc_gap=Interval(-0.1, -0.15, -0.05))
SLICES = SliceReport(SPAN, 1500, 1500, 400, ("City",), (BAD, GOOD, SMALL))
SIDES = {
    name: Intervals(dict.fromkeys(comparison_plots.PANELS, SPAN), 2700, 2700, 2500, 1000)
    for name in ("available, grouped", "documented, grouped")
}

PICTURES = {
    "leakage": (lambda: field_plots.leakage(LEAKS, SUBJECT), 5000),
    "importance": (lambda: field_plots.importance(IMPORTANCE, SUBJECT), 1800),
    "dependence": (lambda: field_plots.dependence(CURVES, SUBJECT), 400),
    "interactions": (lambda: field_plots.interactions(CURVES, SUBJECT), 50),
    "slices": (lambda: slice_plots.slices(SLICES, "City", SUBJECT), 1500),
    "grades": (lambda: slice_plots.grades(SLICES, "City", SUBJECT), 1500),
    "compared": (lambda: comparison_plots.compared(SIDES, "Compared", SUBJECT), 2700),
}


def said(figure):
    return "\n".join(t.get_text() for t in figure.findobj(Text))


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_tells_its_subject_and_sample_size(name):
    draw, n = PICTURES[name]
    assert f"{SUBJECT}; n = {n:,} leads" in said(draw()).replace("\n", " ")


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_has_a_title_names_its_axes_and_can_be_drawn(name):
    figure = PICTURES[name][0]()
    figure.draw_without_rendering()
    assert figure.get_suptitle()
    assert any(ax.get_xlabel() for ax in figure.axes)


def test_the_leak_picture_names_the_suspect_side_and_the_bound():
    assert {"suspected leak", "known in time", "suspected from 0.85 up"} <= set(
        said(PICTURES["leakage"][0]()).split("\n")
    )


def test_importance_shows_twenty_fields():
    assert len(field_plots.importance(IMPORTANCE, SUBJECT).axes[1].patches) == 20


def test_a_missing_word_is_shown_as_not_answered():
    assert "(not answered)" in said(PICTURES["dependence"][0]())


def test_slices_tell_small_bad_and_other_ones_apart():
    assert {"small slice", "surely below all leads", "slice"} <= set(said(PICTURES["slices"][0]()).split("\n"))


def test_a_value_with_dollar_signs_is_no_formula():
    labels = [t.get_text() for t in PICTURES["slices"][0]().axes[0].get_yticklabels()]
    assert labels[2] == r"Pune \$ \$ (40)"


def test_a_protected_field_is_called_so():
    assert "(protected)" in PICTURES["slices"][0]().get_suptitle()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: field_plots.importance(replace(IMPORTANCE, fields=()), SUBJECT),
        lambda: field_plots.dependence(replace(CURVES, curves=()), SUBJECT),
        lambda: field_plots.interactions(replace(CURVES, interactions=()), SUBJECT),
        lambda: slice_plots.slices(SLICES, "Country", SUBJECT),
        lambda: comparison_plots.compared({}, "Compared", SUBJECT),
    ],
)
def test_a_picture_of_nothing_is_refused(draw):
    with pytest.raises(NothingToPlot):
        draw()
