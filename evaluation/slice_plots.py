"""Pictures of slices: order and calibration by the values of one field, and grades where leads are graded."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.look import BLUE, GREY, INK, ORANGE, VERMILLION, clean, legend_above, new_figure, plain, require
from evaluation.slices import Slice, SliceReport

# From the best grade to the worst: dark to pale.
GRADE_COLOURS = {"A": "#08519C", "B": "#4292C6", "C": "#9ECAE1", "D": "#DEEBF7"}
LONGEST = 24


def slices(report: SliceReport, field: str, subject: str) -> Figure:
    """AUC with its interval beside the mean score and the observed rate, one row per value; small slices are hollow."""
    found = report.of(field)
    require(found, f"slice by {field}")
    protected = " (protected)" if field in report.protected else ""
    figure = new_figure(f"The model by {field}{protected}", subject, report.leads)
    left, right = figure.subplots(1, 2, sharey=True)
    _areas(clean(left, "x"), found, report)
    _rates(clean(right, "x"), found)
    left.set_yticks(range(len(found)), [_name(s) for s in found], fontsize=9)
    left.set_ylim(max(len(found), 5) - 0.5, -0.5)
    for ax in (left, right):
        ax.tick_params(axis="y", length=0)
    return figure


def grades(report: SliceReport, field: str, subject: str) -> Figure:
    """Shares of the grades, one row per value; a small slice has `few` beside its leads.

    Bars that stand on each other bear no intervals: those are in the report's table.
    """
    found = [s for s in report.of(field) if s.grades]
    require(found, f"graded slice by {field}")
    figure = new_figure(f"Grades by {field}", subject, report.leads)
    ax = clean(figure.subplots(), "x")
    left = np.zeros(len(found))
    for grade, colour in GRADE_COLOURS.items():
        shares = np.array([s.grades.get(grade, 0.0) for s in found])
        ax.barh(range(len(found)), shares, left=left, color=colour, height=0.7, label=grade, ec="white", lw=0.8)
        left += shares
    ax.set_yticks(range(len(found)), [_name(s, ", few" if s.small else "") for s in found], fontsize=9)
    ax.set_ylim(max(len(found), 5) - 0.5, -0.5)
    ax.set(xlim=(0, 1), xlabel="share of the slice's leads")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.tick_params(axis="y", length=0)
    legend_above(ax)
    return figure


def _areas(ax: Axes, found: tuple[Slice, ...], report: SliceReport) -> None:
    ax.axvspan(report.auc.low, report.auc.high, color=GREY, alpha=0.15, lw=0)
    ax.axvline(report.auc.value, color=GREY, ls="--", lw=1.3, label=f"all leads {report.auc.value:.3f}")
    shown = [(row, s.auc, s.small) for row, s in enumerate(found) if s.auc]
    judged = [row for row, _, small in shown if not small]
    worse = {row for row in judged if (gap := found[row].auc_gap) and gap.high < 0}
    for row, auc, small in shown:
        colour = GREY if small else VERMILLION if row in worse else BLUE
        ends = [[max(auc.value - auc.low, 0)], [max(auc.high - auc.value, 0)]]
        fill = "white" if small else colour
        label = {True: "small slice", False: "surely below all leads" if row in worse else "slice"}[small]
        known = ax.get_legend_handles_labels()[1]
        label = "_" if label in known else label
        ax.errorbar(auc.value, row, xerr=ends, fmt="o", color=colour, mfc=fill, ms=6, capsize=3, lw=1.3, label=label)
    lows = [found[row].auc.low for row in judged if found[row].auc]  # type: ignore[union-attr]
    ax.set_xlim(min([*lows, report.auc.low, 0.7]) - 0.02, 1.005)
    ax.set_xlabel("area under the ROC curve,\n95% interval")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, fontsize=9, frameon=False, columnspacing=1.2)


def _rates(ax: Axes, found: tuple[Slice, ...]) -> None:
    rows = np.arange(len(found))
    rate = np.array([s.rate for s in found])
    ends = [np.maximum(rate - [s.rate_low for s in found], 0), np.maximum([s.rate_high for s in found] - rate, 0)]
    ax.errorbar(rate, rows, xerr=ends, fmt="o", color=BLUE, ms=6, capsize=3, lw=1.3, label="observed rate")
    ax.plot([s.mean_score for s in found], rows, "D", color=ORANGE, mec=INK, mew=0.6, ms=6, label="mean score")
    ax.set(xlim=(-0.02, 1.02), xlabel="converted leads, 95% interval,\nand mean score")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), fontsize=9, frameon=False)


def _name(found: Slice, mark: str = "") -> str:
    word = textwrap.shorten(found.value, LONGEST, placeholder="…") or found.value[:LONGEST]
    return plain(f"{word} ({found.leads:,}{mark})")
