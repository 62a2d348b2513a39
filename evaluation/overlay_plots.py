"""Pictures that lay the curves of two models over each other: ROC, calibration, gains; and their differences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation import curves
from evaluation.bootstrap import Intervals
from evaluation.curves import ScoreBins
from evaluation.look import BLUE, GREY, INK, VERMILLION, clean, legend_above, new_figure, plain

STYLES = ((BLUE, "-", "o"), (VERMILLION, "--", "s"))
MEASURES = {
    "auc_roc": "ROC AUC",
    "auc_pr": "precision-recall AUC",
    "lift_at_10": "lift at 10%",
    "lift_at_20": "lift at 20%",
    "brier": "Brier score",
    "log_loss": "log loss",
}
LOWER_IS_BETTER = ("brier", "log_loss")


def roc(sides: Mapping[str, ScoreBins], subject: str) -> Figure:
    """Both ROC curves with their areas."""
    figure, ax = _axes("ROC curves", sides, subject)
    for (name, bins), (colour, line, _) in zip(sides.items(), STYLES, strict=True):
        curve = curves.roc_curve(bins)
        label = f"{plain(name)}, area {curve.area:.3f}"
        ax.plot(curve.false_positive_rate, curve.true_positive_rate, color=colour, ls=line, lw=2, label=label)
    ax.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1.3)
    return _shares(figure, ax, "false positive rate (% of not converted leads)", "true positive rate (% of converted)")


def calibration(sides: Mapping[str, ScoreBins], subject: str) -> Figure:
    """Both reliability diagrams, with Wilson 95% intervals in ten groups of equal size."""
    figure, ax = _axes("Calibration", sides, subject)
    ax.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1.3)
    for (name, bins), (colour, line, marker) in zip(sides.items(), STYLES, strict=True):
        found = curves.reliability(bins)
        reach = [found.observed - found.low, found.high - found.observed]
        label = f"{plain(name)}, error {curves.expected_calibration_error(found):.3f}"
        style: dict[str, Any] = {
            "color": colour,
            "ls": line,
            "marker": marker,
            "ms": 6,
            "lw": 1.6,
            "capsize": 4,
            "label": label,
        }
        ax.errorbar(found.predicted, found.observed, reach, **style)
    return _shares(figure, ax, "predicted probability (%)", "observed rate (% converted)")


def gains(sides: Mapping[str, ScoreBins], subject: str) -> Figure:
    """Both gains curves, with the lift at 10%."""
    figure, ax = _axes("Cumulative gains", sides, subject)
    for (name, bins), (colour, line, _) in zip(sides.items(), STYLES, strict=True):
        found = curves.cumulative_gains(bins)
        label = f"{plain(name)}, lift at 10% {found.at(0.1)[1]:.2f}"
        ax.plot(found.contacted, found.reached, color=colour, ls=line, lw=2, label=label)
    ax.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1.3)
    return _shares(figure, ax, "leads contacted, best score first (% of leads)", "converted leads reached (%)")


def differences(found: Intervals, subject: str) -> Figure:
    """Second less first for every measure, each on a scale of its own, blue where the second is surely better."""
    figure = new_figure("Second less first, paired 95% intervals", subject, found.leads)
    for ax, (metric, name) in zip(figure.subplots(len(MEASURES), 1), MEASURES.items(), strict=True):
        change = found.metrics[metric]
        better = (change.high < 0) if metric in LOWER_IS_BETTER else (change.low > 0)
        worse = (change.low > 0) if metric in LOWER_IS_BETTER else (change.high < 0)
        colour = BLUE if better else VERMILLION if worse else GREY
        reach = [[max(change.value - change.low, 0)], [max(change.high - change.value, 0)]]
        clean(ax, "x").axvline(0, color=INK, lw=1)
        ax.errorbar([change.value], [0], xerr=reach, fmt="o", color=colour, ms=7, lw=2, capsize=5)
        verdict = "surely better" if better else "surely worse" if worse else "no sure difference"
        lower = ", lower is better" if metric in LOWER_IS_BETTER else ""
        title = f"{name}{lower}: {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}), {verdict}"
        ax.set_title(title, loc="left", fontsize=10, color=INK)
        far = max(abs(change.low), abs(change.high), 1e-4) * 1.25
        ax.set(xlim=(-far, far), ylim=(-1, 1), yticks=[])
        ax.tick_params(labelsize=8.5)
        ax.spines["left"].set_visible(False)
    return figure


def _axes(title: str, sides: Mapping[str, ScoreBins], subject: str) -> tuple[Figure, Axes]:
    figure = new_figure(title, subject, next(iter(sides.values())).n)
    return figure, clean(figure.subplots())


def _shares(figure: Figure, ax: Axes, xlabel: str, ylabel: str) -> Figure:
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(np.linspace(0, 1, 6))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    legend_above(ax)
    return figure
