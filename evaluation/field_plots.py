"""Pictures of what fields know and what they do: the leakage probe, importance, partial dependence."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.dependence import Dependence, DependenceReport
from evaluation.leakage import ALONE, LeakReport
from evaluation.look import BLUE, GREY, INK, ORANGE, VERMILLION, clean, new_figure, plain, require
from evaluation.permutation import ImportanceReport
from features.contract import Kind

TOP_FIELDS = 20


def leakage(report: LeakReport, subject: str) -> Figure:
    """AUC of each field alone with two standard errors, and the bound from which a field is suspected."""
    fields = [f for f in report.fields if f.kind not in (Kind.ID, Kind.ORDER)]
    fields = sorted(fields, key=lambda f: -f.auc)[:TOP_FIELDS]
    require(fields, "probed field")
    suspected = {s.field for s in report.suspects}
    figure = new_figure("What each field knows of the outcome by itself", subject, report.rows)
    ax = clean(figure.subplots(), "x")
    sides = {
        "known in time": (BLUE, [f.name not in suspected and f.name not in report.declared_late for f in fields]),
        "declared late": (ORANGE, [f.name in report.declared_late and f.name not in suspected for f in fields]),
        "suspected leak": (VERMILLION, [f.name in suspected for f in fields]),
    }
    for label, (colour, chosen) in sides.items():
        rows = np.flatnonzero(chosen)
        if len(rows):
            areas = np.array([fields[i].auc for i in rows])
            reach = 2 * np.array([fields[i].auc_error for i in rows])
            ends = [np.minimum(reach, areas - 0.5), np.minimum(reach, 1 - areas)]
            ax.hlines(rows, 0.5, areas, color=colour, lw=1.2, alpha=0.35)
            ax.errorbar(areas, rows, xerr=ends, fmt="o", color=colour, ms=7, capsize=3, label=label)
    ax.axvline(ALONE, color=GREY, ls="--", lw=1.3, label=f"suspected from {ALONE} up")
    if report.forests.trees:
        ax.axvline(
            report.forests.auc, color=INK, ls=":", lw=1.3, label=f"forest of all fields {report.forests.auc:.3f}"
        )
    _rows(ax, [f.name for f in fields])
    ax.set(xlim=(0.495, 1.0), xlabel="area under the ROC curve of the field alone (0.5: knows nothing)")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, fontsize=9, frameon=False, columnspacing=1.4)
    return figure


def explanations(found: ImportanceReport, curves: DependenceReport, subject: str) -> dict[str, Figure]:
    """Pictures by name: importance, dependence and, where a pair of fields has a large interaction, interactions."""
    figures = {"importance": importance(found, subject), "dependence": dependence(curves, subject)}
    if any(pair.large for pair in curves.interactions):
        figures["interactions"] = interactions(curves, subject)
    return figures


def importance(report: ImportanceReport, subject: str) -> Figure:
    """Loss of AUC when a field is shuffled, with 95% intervals, beside its share of the impurity."""
    fields = report.fields[:TOP_FIELDS]
    require(fields, "field with an importance")
    figure = new_figure("Importance of the lead's fields, measured in two ways", subject, report.leads)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(fields))
    loss = np.array([f.auc_loss.value for f in fields])
    ends = [loss - [f.auc_loss.low for f in fields], np.array([f.auc_loss.high for f in fields]) - loss]
    clean(left, "x").errorbar(loss, rows, xerr=ends, fmt="o", color=BLUE, ms=6, capsize=3)
    left.axvline(0, color=GREY, lw=1.2)
    left.set_xlabel(f"AUC lost when shuffled, 95% interval\n(test leads; AUC of the model {report.auc:.3f})")
    shares = [f.impurity_share for f in fields]
    bars = clean(right, "x").barh(rows, shares, color=ORANGE, height=0.65)
    right.bar_label(bars, [f"{share:.1%}" for share in shares], padding=3, fontsize=9, color=INK)
    right.set_xlim(0, max(*shares, 0.05) * 1.22)
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_xlabel("share of the decrease in impurity\n(train leads)")
    _rows(left, [f.field for f in fields])
    right.tick_params(axis="y", length=0)
    return figure


def dependence(report: DependenceReport, subject: str) -> Figure:
    """Partial dependence of up to six fields: the mean score with the middle 80% of the leads' scores."""
    curves = report.curves[:6]
    require(curves, "field with a curve")
    figure = new_figure("How the score moves with one field, the others as they are", subject, report.leads)
    wide = 1 if len(curves) == 1 else 2 if len(curves) in (2, 4) else 3
    panels = np.atleast_1d(figure.subplots(-(-len(curves) // wide), wide)).ravel()
    top = max(p.high for c in curves for p in c.points)
    for ax, curve in zip(panels, curves, strict=False):
        _panel(clean(ax, "y" if curve.numeric else "x"), curve, top)
    for ax in panels[len(curves) :]:
        ax.set_visible(False)
    return figure


def interactions(report: DependenceReport, subject: str) -> Figure:
    """How strongly pairs of fields act together, in points of probability, and as a share of their effect (H)."""
    found = report.interactions
    require(found, "pair of fields")
    figure = new_figure("Fields that act together (Friedman's H)", subject, report.paired_leads)
    ax = clean(figure.subplots(), "x")
    bars = ax.barh(np.arange(len(found)), [100 * i.strength for i in found], color=BLUE, height=0.6)
    ax.bar_label(bars, [f"H = {i.h:.2f}" for i in found], padding=4, fontsize=10, color=INK)
    ax.set_xlim(0, max(100 * found[0].strength, 0.5) * 1.2)
    ax.set_xlabel("joint part of the two fields' effect (points of probability, root mean square)")
    _rows(ax, [f"{i.first}\nwith {i.second}" for i in found])
    return figure


def _panel(ax: Axes, curve: Dependence, top: float) -> None:
    means, low, high = ([getattr(p, part) for p in curve.points] for part in ("mean", "low", "high"))
    if curve.numeric:
        values = np.array([p.value for p in curve.points], float)
        ax.fill_between(values, low, high, color=BLUE, alpha=0.15, lw=0)
        ax.plot(values, means, "o-", color=BLUE, ms=4, lw=2)
        ax.set_ylim(0, top * 1.05)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel(f"value ({curve.unit})" if curve.unit else "value", fontsize=9)
        ax.set_ylabel("score", fontsize=9)
    else:
        rows = np.arange(len(curve.points))
        ax.hlines(rows, low, high, color=BLUE, alpha=0.25, lw=6)
        ax.plot(means, rows, "o", color=BLUE, ms=6)
        words = ["(not answered)" if p.value is None else str(p.value) for p in curve.points]
        ax.set_yticks(rows, [plain(textwrap.shorten(w, 20, placeholder="…") if " " in w else w[:20]) for w in words])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlim(0, top * 1.05)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel("score", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.set_title(plain(curve.field), fontsize=10.5, color=INK, loc="left")


def _rows(ax: Axes, names: list[str]) -> None:
    """One row per name, the first on top; room for six at least."""
    ax.set_yticks(range(len(names)), [plain(name) for name in names])
    ax.set_ylim(max(len(names), 6) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
