"""Pictures of one model: ROC, precision and recall, confusion, calibration, lift.

`subject` says which model, which leads and which run; it stands under the title with the sample size.
"""

from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from evaluation import curves
from evaluation.curves import ScoreBins
from evaluation.look import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    VERMILLION,
    clean,
    ink_on,
    legend_above,
    new_figure,
    tiled,
)

Side = Literal["left", "right"]


def roc(bins: ScoreBins, subject: str) -> Figure:
    """ROC curve with its area, chance, and the point of threshold 0.5."""
    curve = curves.roc_curve(bins)
    figure = new_figure("ROC curve", subject, bins.n)
    ax = clean(figure.subplots())
    x, y = curve.false_positive_rate, curve.true_positive_rate
    ax.plot(x, y, color=BLUE, lw=2.2, label=f"model, area {curve.area:.3f}")
    ax.fill_between(x, y, color=BLUE, alpha=0.08, lw=0)
    ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.3, label="chance, area 0.500")
    _mark_half(ax, x, y, curve.thresholds, "left")
    _shares(ax, "false positive rate (% of not converted leads)", "true positive rate (% of converted leads)")
    legend_above(ax)
    return figure


def precision_recall(bins: ScoreBins, subject: str) -> Figure:
    """Precision-recall curve with its area, the base rate, and the point of threshold 0.5."""
    curve = curves.pr_curve(bins)
    figure = new_figure("Precision-recall curve", subject, bins.n)
    ax = clean(figure.subplots())
    ax.plot(curve.recall, curve.precision, color=BLUE, lw=2.2, label=f"model, area {curve.area:.3f}")
    ax.axhline(curve.base_rate, color=GREY, ls="--", lw=1.3, label=f"random order: base rate {curve.base_rate:.1%}")
    _mark_half(ax, curve.recall, curve.precision, curve.thresholds, "right")
    _shares(ax, "recall (% of converted leads found)", "precision (% of found leads that converted)")
    legend_above(ax)
    return figure


def confusion_matrix(bins: ScoreBins, subject: str, threshold: float = 0.5) -> Figure:
    """Actual against predicted class: leads and their share of the row, coloured by that share."""
    counts = curves.confusion(bins, threshold)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = new_figure(f"Confusion matrix at threshold {threshold:g}", subject, bins.n)
    ax = figure.subplots()
    blues, norm = colormaps["Blues"], Normalize(0, 1.1)
    ax.imshow(shares, cmap=blues, norm=norm, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        ink = ink_on(blues, norm(shares[row, column]))
        ax.text(column, row - 0.06, f"{count:,}", ha="center", va="center", color=ink, fontsize=22, weight="bold")
        ax.text(column, row + 0.14, f"{shares[row, column]:.1%} of the row", ha="center", va="center", color=ink)
    classes = ["not converted", "converted"]
    ax.set_xticks([0, 1], classes, fontsize=11)
    ax.set_yticks([0, 1], classes, fontsize=11, rotation=90, va="center")
    ax.set_xlabel("predicted class")
    ax.set_ylabel("actual class")
    tiled(ax, counts.shape)
    return figure


def calibration(bins: ScoreBins, subject: str, groups: int = 10, before: ScoreBins | None = None) -> Figure:
    """Reliability diagram with Wilson 95% intervals in groups of equal size, above a histogram of the scores.

    The intervals are of single leads: repeats, which the histogram cannot tell, make them a little too narrow.
    `before` are the same leads by the forest's own probability, which calibration has corrected.
    """
    found = curves.reliability(bins, groups)
    error = curves.expected_calibration_error(found)
    told = f"expected calibration error {error:.3f}"
    uncalibrated = curves.reliability(before, groups) if before else None
    if uncalibrated:
        told += f", before {curves.expected_calibration_error(uncalibrated):.3f}"
    figure = new_figure(f"Calibration ({told})", subject, bins.n)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    clean(upper).plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.3, label="perfect")
    if uncalibrated:
        upper.plot(uncalibrated.predicted, uncalibrated.observed, "s:", color=ORANGE, ms=5, lw=1.5, label="before")
    reach = [found.observed - found.low, found.high - found.observed]
    label = f"{len(found.leads)} groups of about {bins.n // len(found.leads):,} leads, 95% interval of single leads"
    style = {"fmt": "o-", "color": BLUE, "ms": 5, "lw": 1.5, "elinewidth": 1.5, "capsize": 4}
    upper.errorbar(found.predicted, found.observed, reach, label=label, **style)
    _shares(upper, "", "observed rate\n(% converted)")
    legend_above(upper)
    step = -(-len(bins.edges) // 40)
    starts = np.arange(0, len(bins.edges), step)
    widths = np.diff(np.append(bins.edges[starts], 1))
    won, lost = (np.add.reduceat(side, starts) for side in (bins.positives, bins.negatives))
    middles, widths = bins.edges[starts] + widths / 2, widths * 0.92
    clean(lower, "y").bar(middles, won, widths, color=BLUE, label="converted")
    lower.bar(middles, lost, widths, won, color=ORANGE, label="not converted")
    lower.set(xlabel="predicted probability (%)", ylabel="leads")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    legend_above(lower)
    return figure


def lift(bins: ScoreBins, subject: str) -> Figure:
    """Cumulative gains, with the lift when the best 10% and 20% of the leads are contacted."""
    gains = curves.cumulative_gains(bins)
    figure = new_figure("Cumulative gains and lift", subject, bins.n)
    ax = clean(figure.subplots())
    ax.plot([0, gains.base_rate, 1], [0, 1, 1], color=ORANGE, ls=":", lw=1.8, label="perfect order")
    ax.plot(gains.contacted, gains.reached, color=BLUE, lw=2.2, label="leads in the model's order")
    ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.3, label="random order, lift 1")
    for share in (0.1, 0.2):
        reached, times = gains.at(share)
        text = f"best {share:.0%} of leads: {reached:.0%} of the converted, lift {times:.2f}"
        _point(ax, share, reached, text, (14, -6))
    _shares(ax, "leads contacted, best score first (% of leads)", "converted leads reached (% of converted leads)")
    legend_above(ax)
    return figure


def _shares(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Both axes from 0 to 100%."""
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), xlabel=xlabel, ylabel=ylabel)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))


def _mark_half(ax: Axes, x: curves.Floats, y: curves.Floats, thresholds: curves.Floats, side: Side) -> None:
    """Mark the point of all leads with a score of 0.5 and more; the text starts at its left or ends at its right."""
    at = int(np.flatnonzero(thresholds >= 0.5)[-1])
    _point(ax, float(x[at]), float(y[at]), "threshold 0.5", (10 if side == "left" else -10, -14), side)


def _point(ax: Axes, x: float, y: float, text: str, offset: tuple[int, int], side: Side = "left") -> None:
    ax.plot([x], [y], "o", color=VERMILLION, ms=8, mec="white", mew=1.2, zorder=4)
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
    ax.annotate(text, (x, y), offset, textcoords="offset points", ha=side, color=INK, bbox=box, zorder=5)
