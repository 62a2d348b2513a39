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
    field="City",
    value="Mumbai",
    leads=900,
    groups=880,
    share=0.6,
    small=False,
    rate=0.4,
    rate_low=0.36,
    rate_high=0.45,
    mean_score=0.38,
    ece=0.03,
    auc=SPAN,
    auc_gap=Interval(0, -0.01, 0.01),
    brier_gap=SPAN,
    calibration_gap=Interval(-0.02, -0.05, 0.01),
    grades={"A": 0.3, "D": 0.7},
    grades_low={"A": 0.27, "D": 0.67},
    grades_high={"A": 0.33, "D": 0.73},
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


def test_legends_of_slices_with_long_names_lie_within_the_picture():
    long = SliceReport(SPAN, 1500, 1500, 400, (), (replace(GOOD, value="W" * 24), SMALL, BAD))
    figure = slice_plots.slices(long, "City", SUBJECT)
    figure.draw_without_rendering()
    ends = [ax.get_legend().get_window_extent().x1 for ax in figure.axes]
    assert max(ends) <= figure.bbox.x1


def test_the_bars_of_a_rate_are_the_slice_s_own_interval():
    bars = slice_plots.slices(SLICES, "City", SUBJECT).axes[1].collections[0]
    assert bars.get_segments()[0][:, 0] == pytest.approx([0.36, 0.45])


@pytest.mark.parametrize(("h", "strength", "drawn"), [(0.4, 0.05, True), (0.9, 0.009, False), (0.09, 0.05, False)])
def test_interactions_are_drawn_where_they_are_a_good_part_of_an_effect_that_counts(h, strength, drawn):
    pairs = (Interaction("Seconds", "City", h, strength),)
    pictures = field_plots.explanations(IMPORTANCE, replace(CURVES, interactions=pairs), SUBJECT)
    assert ("interactions" in pictures) == drawn


def worst(*slices):
    return replace(SLICES, slices=slices).worst.value


def test_a_slice_that_surely_promises_too_much_is_worse_than_one_whose_area_is_surely_a_little_low():
    promising = replace(GOOD, value="Goa", calibration_gap=Interval(0.2, 0.1, 0.3))
    assert worst(BAD, promising, GOOD) == "Goa"


def test_a_slice_that_surely_promises_too_little_is_as_bad():
    assert worst(BAD, replace(GOOD, value="Goa", calibration_gap=Interval(-0.2, -0.3, -0.1))) == "Goa"


def test_a_slice_ranks_by_the_worse_of_order_and_calibration():
    assert worst(replace(BAD, calibration_gap=Interval(0.03, 0.02, 0.04)), GOOD) == "Delhi"
    assert worst(BAD, replace(GOOD, value="Goa", calibration_gap=Interval(0.06, 0.04, 0.08))) == "Delhi"


def test_a_calibration_gap_that_chance_explains_does_not_make_a_slice_the_worst():
    assert worst(BAD, replace(GOOD, value="Goa", calibration_gap=Interval(0.2, -0.01, 0.41))) == "Delhi"


def test_the_worst_order_is_that_of_the_area_alone():
    promising = replace(GOOD, value="Goa", calibration_gap=Interval(0.2, 0.1, 0.3))
    assert replace(SLICES, slices=(promising, BAD)).worst_ordered.value == "Delhi"


def test_a_value_with_dollar_signs_is_no_formula():
    labels = [t.get_text() for t in PICTURES["slices"][0]().axes[0].get_yticklabels()]
    assert labels[2] == r"Pune \$ \$ (40)"


def test_a_small_slice_is_called_so_beside_its_grades():
    labels = [t.get_text() for t in PICTURES["grades"][0]().axes[0].get_yticklabels()]
    assert labels == ["Delhi (900)", "Mumbai (900)", r"Pune \$ \$ (40, few)"]


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
