"""Picture of the grades: how many leads each holds and how many of them convert."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.grades import GradeTable
from evaluation.look import BLUE, GREY, INK, ORANGE, clean, legend_above, new_figure, require


def grades(table: GradeTable, subject: str) -> Figure:
    """Bars of the conversion rate per grade with its 95% interval, and the mean score before and after calibration.

    Under each grade stand its leads and their share.
    """
    held = [row for row in table.rows if row.leads]
    require(held, "graded lead")
    n, converted = sum(row.leads for row in held), sum(row.converted for row in held)
    figure = new_figure("Conversion by grade", subject, n)
    ax = clean(figure.subplots(), "y")
    rates = [row.rate or 0.0 for row in held]
    reach = [[r - (row.low or 0.0) for r, row in zip(rates, held, strict=True)]]
    reach.append([(row.high or 0.0) - r for r, row in zip(rates, held, strict=True)])
    places = range(len(held))
    ax.bar(places, rates, color=BLUE, width=0.62)
    ax.errorbar(places, rates, reach, fmt="none", ecolor=INK, elinewidth=1.5, capsize=5, label="95% interval")
    _scores(ax, [row.mean_score_uncalibrated for row in held], "mean score before calibration", "white")
    _scores(ax, [row.mean_score for row in held], "mean score", ORANGE)
    for place, rate, row in zip(places, rates, held, strict=True):
        top = max(row.high or rate, row.mean_score_uncalibrated or 0.0, row.mean_score or 0.0)
        ax.text(place, top + 0.03, f"{rate:.0%}", ha="center", color=INK, fontsize=13, weight="bold")
    ax.axhline(converted / n, color=GREY, ls="--", lw=1.3, label=f"all leads: {converted / n:.0%}")
    ax.set_xticks(list(places), [f"{row.grade}\n{row.leads:,} leads ({row.share:.0%})" for row in held], fontsize=11)
    ax.set(ylim=(0, 1.08), xlabel="grade of the lead", ylabel="converted (% of the grade's leads)")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    legend_above(ax)
    return figure


def _scores(ax: Axes, scores: Sequence[float | None], label: str, fill: str) -> None:
    """Diamonds at the mean scores of the grades; nothing where none is known."""
    given = np.array(scores, float)  # None is not a number, which is not drawn
    if np.isfinite(given).any():
        ax.plot(range(len(given)), given, "D", color=fill, mec=INK, mew=0.6, ms=7, label=label, zorder=4)
