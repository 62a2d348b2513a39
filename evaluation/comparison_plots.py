"""Pictures that put models, or ways to test one, side by side: a row each, with 95% intervals."""

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from evaluation.bootstrap import Intervals
from evaluation.look import BLUE, INK, clean, new_figure, plain, require

PANELS = {
    "auc_roc": "area under the ROC curve",
    "auc_pr": "area under precision-recall",
    "lift_at_10": "lift, best 10%",
}


def compared(sides: Mapping[str, Intervals], title: str, subject: str) -> Figure:
    """ROC area, precision-recall area and lift at 10% of each side, with 95% intervals; one row per side."""
    require(sides, "side to compare")
    figure = new_figure(title, subject, max(side.leads for side in sides.values()))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    rows = np.arange(len(sides))
    for ax, (metric, name) in zip(panels, PANELS.items(), strict=True):
        found = [side.metrics[metric] for side in sides.values()]
        values = np.array([i.value for i in found])
        ends = [np.maximum(values - [i.low for i in found], 0), np.maximum([i.high for i in found] - values, 0)]
        clean(ax, "x").errorbar(values, rows, xerr=ends, fmt="o", color=BLUE, ms=7, capsize=4, lw=1.6)
        for row, value in zip(rows, values, strict=True):
            text = f"{value:.2f}" if metric.startswith("lift") else f"{value:.3f}"
            ax.annotate(text, (value, row), (0, 9), textcoords="offset points", ha="center", fontsize=10, color=INK)
        ax.margins(x=0.15)
        ax.set_xlabel(f"{name}\n95% interval", fontsize=9.5)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(rows, [plain(textwrap.fill(name, 22)) for name in sides])
    panels[0].set_ylim(max(len(sides), 3) - 0.5, -0.5)
    return figure
