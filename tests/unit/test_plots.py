"""evaluation/plots.py: what every picture must carry, and the facts that it prints."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from evaluation import plots
from evaluation import sweep_plots as sweeps
from evaluation.curves import EmptyClass, ScoreBins
from evaluation.look import NothingToPlot

SUBJECT = "random forest 100 trees, depth 10; available features; test leads; run 1a2b3c4d"
# 1,010 leads, of which the upper half of the bins holds 400 of 500 converted and 110 of 510 not converted.
BINS = ScoreBins(np.array([20, 80, 150, 250]), np.array([300, 100, 60, 50]), np.array([40.0, 67.5, 131.25, 262.5]))
GRID: list[dict[str, Any]] = [
    {"trees": trees, "depth": depth, "auc_roc": 0.9 + trees / 10_000 + depth / 1_000, "std": 0.004}
    for trees in (50, 100, 200)
    for depth in (5, 10)
]
SWEEP: list[dict[str, Any]] = [
    {"trees": 10 * t, "feature_subset": ("auto", "log2", "onethird")[t % 3], "auc_roc": 0.9 + (t % 7) / 1_000}
    for t in range(1, 61)
]

PICTURES: dict[str, Callable[[], Figure]] = {
    "roc": lambda: plots.roc(BINS, SUBJECT),
    "precision_recall": lambda: plots.precision_recall(BINS, SUBJECT),
    "confusion_matrix": lambda: plots.confusion_matrix(BINS, SUBJECT),
    "calibration": lambda: plots.calibration(BINS, SUBJECT),
    "lift": lambda: plots.lift(BINS, SUBJECT),
    "parallel_coordinates": lambda: sweeps.parallel_coordinates(SWEEP, "auc_roc", SUBJECT),
    "one candidate": lambda: sweeps.parallel_coordinates(SWEEP[:1], "auc_roc", SUBJECT),
    "grid_heatmap": lambda: sweeps.grid_heatmap(GRID, "trees", "depth", "auc_roc", "std", SUBJECT),
    "one cell": lambda: sweeps.grid_heatmap(GRID[:1], "trees", "depth", "auc_roc", "std", SUBJECT),
    "trials": lambda: sweeps.trials([0.9, 0.92, 0.91], "auc_roc", SUBJECT),
}
SIZES = {"parallel_coordinates": "60 candidates", "one candidate": "1 candidate", "grid_heatmap": "6 candidates"}
SIZES |= {"one cell": "1 candidate", "trials": "3 trials"}


@pytest.fixture(params=PICTURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def said(figure: Figure) -> str:
    return "\n".join(texts(figure))


def axes(figure: Figure) -> Axes:
    return figure.axes[0]


def test_every_picture_has_a_title(name: str) -> None:
    assert PICTURES[name]().get_suptitle()


def test_every_picture_tells_its_subject_and_sample_size(name: str) -> None:
    assert f"{SUBJECT}; n = {SIZES.get(name, '1,010 leads')}" in said(PICTURES[name]()).replace("\n", " ")


def test_every_picture_names_its_axes(name: str) -> None:
    drawn = PICTURES[name]().axes
    assert axes(PICTURES[name]()).get_ylabel()
    # The two panels of the calibration share the lower one's.
    assert any(ax.get_xlabel() for ax in drawn)


def test_every_picture_is_at_least_800_by_560_pixels(name: str) -> None:
    width, height = PICTURES[name]().canvas.get_width_height()
    assert (width >= 800, height >= 560) == (True, True)


def test_no_text_of_any_picture_is_cut_off(name: str) -> None:
    figure = PICTURES[name]()
    figure.canvas.draw()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert (drawn.xmin >= 0, drawn.ymin >= 0, drawn.xmax <= page.xmax, drawn.ymax <= page.ymax) == (True,) * 4


def test_no_picture_enters_pyplots_global_state(name: str) -> None:
    PICTURES[name]()
    assert Gcf.get_all_fig_managers() == []


def test_the_roc_picture_prints_the_area() -> None:
    assert "model, area 0.850" in said(plots.roc(BINS, SUBJECT))


def test_the_threshold_is_marked_where_all_scores_from_one_half_up_are_predicted_to_convert() -> None:
    marks = [line for line in axes(plots.roc(BINS, SUBJECT)).lines if line.get_marker() == "o"]
    assert [np.asarray(mark.get_xydata()).tolist() for mark in marks] == [[[110 / 510, 400 / 500]]]


def test_the_precision_recall_picture_draws_the_base_rate() -> None:
    assert "base rate 49.5%" in said(plots.precision_recall(BINS, SUBJECT))


def test_the_confusion_matrix_prints_counts_and_row_shares() -> None:
    printed = texts(plots.confusion_matrix(BINS, SUBJECT))
    assert {"400", "110", "100"} <= set(printed)
    assert {"78.4% of the row", "21.6% of the row", "20.0% of the row", "80.0% of the row"} <= set(printed)


def test_the_calibration_histogram_holds_every_lead() -> None:
    bars = [bar for bar in plots.calibration(BINS, SUBJECT).axes[1].patches if isinstance(bar, Rectangle)]
    assert sum(bar.get_height() for bar in bars) == 1010


def test_the_lift_picture_prints_the_lift_of_the_best_tenth() -> None:
    # The best bin holds 250 converted of 300, so 10% of 1,010 leads reach 84.2 of 500.
    assert "best 10% of leads: 17% of the converted, lift 1.68" in said(plots.lift(BINS, SUBJECT))


def test_an_empty_class_is_refused_by_name() -> None:
    with pytest.raises(EmptyClass, match="0 converted"):
        plots.roc(ScoreBins(np.zeros(4, int), np.ones(4, int), np.ones(4)), SUBJECT)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: sweeps.parallel_coordinates([], "auc_roc", SUBJECT),
        lambda: sweeps.grid_heatmap([{"trees": 1, "depth": 1, "auc_roc": float("nan")}], "trees", "depth", "auc_roc"),
        lambda: sweeps.trials([], "auc_roc", SUBJECT),
    ],
)
def test_nothing_to_plot_is_refused_by_name(draw: Callable[[], Figure]) -> None:
    with pytest.raises(NothingToPlot, match="at least one is needed"):
        draw()


def test_the_best_candidate_is_told_with_its_parameters() -> None:
    label = axes(sweeps.parallel_coordinates(GRID, "auc_roc", SUBJECT)).get_xlabel().replace("\N{NO-BREAK SPACE}", " ")
    assert label.startswith("best: ROC AUC 0.9300 with trees 200, depth 10")


def test_the_lowest_candidate_is_best_where_lower_is_better() -> None:
    rows = [{"depth": 5, "log_loss": 0.4}, {"depth": 10, "log_loss": 0.3}]
    ax = axes(sweeps.parallel_coordinates(rows, "log_loss", SUBJECT, lower=True))
    assert ax.get_xlabel().replace("\N{NO-BREAK SPACE}", " ") == "best: log loss (nats) 0.3000 with depth 10"


def bold_lines(figure: Figure) -> int:
    return sum(to_rgb(line.get_color()) == to_rgb(plots.VERMILLION) for line in axes(figure).lines)


def test_candidates_that_tie_are_counted_and_all_stand_out() -> None:
    rows: list[dict[str, Any]] = [{"depth": d, "auc_roc": m} for d, m in ((5, 0.9), (10, 0.8), (15, 0.9))]
    figure = sweeps.parallel_coordinates(rows, "auc_roc", SUBJECT)
    assert "2 tied" in texts(figure)
    assert bold_lines(figure) == 2


def test_candidates_without_a_finite_metric_are_left_out() -> None:
    rows: list[dict[str, Any]] = [*SWEEP[:2], {"trees": 30, "feature_subset": "auto", "auc_roc": float("nan")}]
    assert "n = 2 candidates" in said(sweeps.parallel_coordinates(rows, "auc_roc", SUBJECT))


def test_a_parameter_that_a_candidate_lacks_is_told_as_not_set() -> None:
    assert "not set" in texts(sweeps.parallel_coordinates([*GRID, {"trees": 50, "auc_roc": 0.8}], "auc_roc", SUBJECT))


def test_each_cell_of_the_grid_prints_mean_and_deviation() -> None:
    assert "0.9100\n±0.0040" in texts(sweeps.grid_heatmap(GRID, "trees", "depth", "auc_roc", "std", SUBJECT))


def test_the_best_cell_of_the_grid_is_framed() -> None:
    ax = axes(sweeps.grid_heatmap(GRID, "trees", "depth", "auc_roc", "std", SUBJECT))
    assert [frame.get_xy() for frame in ax.patches if isinstance(frame, Rectangle)] == [(1.5, 0.5)]


def test_a_cell_with_several_candidates_shows_the_best() -> None:
    rows = [{"trees": 50, "depth": 5, "auc_roc": m} for m in (0.7, 0.8, 0.75)]
    assert "0.8000" in texts(sweeps.grid_heatmap(rows, "trees", "depth", "auc_roc", None, SUBJECT))


def test_the_best_so_far_never_falls_and_skips_failed_trials() -> None:
    figure = sweeps.trials([0.8, float("nan"), 0.9, 0.7, float("inf")], "auc_roc", SUBJECT)
    assert np.asarray(axes(figure).lines[0].get_ydata()).tolist() == [0.8, 0.8, 0.9, 0.9, 0.9]
    assert "best: 0.9000 in trial 3" in said(figure)


def test_the_best_so_far_never_rises_where_lower_is_better() -> None:
    figure = sweeps.trials([0.4, 0.3, 0.5], "log_loss", SUBJECT, lower=True)
    assert np.asarray(axes(figure).lines[0].get_ydata()).tolist() == [0.4, 0.3, 0.3]
