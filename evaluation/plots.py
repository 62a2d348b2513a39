"""Pictures of a model and of a sweep: one look, Okabe-Ito colours, no pyplot, so that any thread may draw.

Every function returns a Figure of at least 800 x 560 pixels whose subtitle holds `subject` (which model, which leads,
which run) and the sample size.
"""

import textwrap
from collections.abc import Mapping, Sequence, Sized
from numbers import Real
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from evaluation import curves
from evaluation.curves import ScoreBins
from evaluation.errors import EvaluationError

# Okabe and Ito 2008, "Color Universal Design": told apart with any colour vision.
BLUE, VERMILLION, ORANGE = "#0072B2", "#D55E00", "#E69F00"
GREY, PALE, INK = "#767676", "#E4E4E4", "#222222"
# Dark is good. The palest end of viridis is left out: it is hard to see on white.
GOOD = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1, 256)))
LABELS = {"auc_roc": "ROC AUC", "auc_pr": "PR AUC", "f1": "F1", "log_loss": "log loss (nats)", "brier": "Brier score"}
TOP_FIELDS = 20
# A parameter with up to so many values gets a tick for each, at equal distances.
FEW_VALUES = 8
WIDTH, HEIGHT, DPI = 8.0, 5.6, 110
Side = Literal["left", "right"]


class NothingToPlot(EvaluationError):
    """A picture was asked for of no field, no candidate or no finished trial."""


def importance(by_field: Mapping[str, float], subject: str, n: int) -> Figure:
    """Bars of the 20 fields with the largest importance, as shares of the total; `n` leads were trained on."""
    _require(by_field, "field with an importance")
    top = sorted(by_field.items(), key=lambda item: -item[1])[:TOP_FIELDS]
    total = sum(by_field.values()) or 1.0
    shares = [value / total for _, value in top]
    figure = _figure("Importance of the lead's fields", subject, n)
    ax = _clean(figure.subplots(), "x")
    bars = ax.barh([_plain(name) for name, _ in top], shares, color=BLUE, height=0.7)
    ax.bar_label(bars, [f"{share:.1%}" for share in shares], padding=4, fontsize=9, color=INK)
    # Room for at least six bars: a single one would fill the picture.
    ax.set_ylim(max(len(top), 6) - 0.5, -0.5)
    ax.set_xlim(0, max(*shares, 0.05) * 1.12)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.tick_params(axis="y", length=0)
    rest = f"; the first {TOP_FIELDS} of {len(by_field)} fields, together {sum(shares):.1%}"
    ax.set_xlabel("share of the total decrease in impurity" + (rest if len(by_field) > TOP_FIELDS else ""))
    ax.set_ylabel("field of the lead")
    return figure


def roc(bins: ScoreBins, subject: str) -> Figure:
    """ROC curve with its area, chance, and the point of threshold 0.5."""
    curve = curves.roc_curve(bins)
    figure = _figure("ROC curve", subject, bins.n)
    ax = _clean(figure.subplots())
    x, y = curve.false_positive_rate, curve.true_positive_rate
    ax.plot(x, y, color=BLUE, lw=2.2, label=f"model, area {curve.area:.3f}")
    ax.fill_between(x, y, color=BLUE, alpha=0.08, lw=0)
    ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.3, label="chance, area 0.500")
    _mark_half(ax, x, y, curve.thresholds, "left")
    _shares(ax, "false positive rate (% of not converted leads)", "true positive rate (% of converted leads)")
    _legend(ax)
    return figure


def precision_recall(bins: ScoreBins, subject: str) -> Figure:
    """Precision-recall curve with its area, the base rate, and the point of threshold 0.5."""
    curve = curves.pr_curve(bins)
    figure = _figure("Precision-recall curve", subject, bins.n)
    ax = _clean(figure.subplots())
    ax.plot(curve.recall, curve.precision, color=BLUE, lw=2.2, label=f"model, area {curve.area:.3f}")
    ax.axhline(curve.base_rate, color=GREY, ls="--", lw=1.3, label=f"random order: base rate {curve.base_rate:.1%}")
    _mark_half(ax, curve.recall, curve.precision, curve.thresholds, "right")
    _shares(ax, "recall (% of converted leads found)", "precision (% of found leads that converted)")
    _legend(ax)
    return figure


def confusion_matrix(bins: ScoreBins, subject: str, threshold: float = 0.5) -> Figure:
    """Actual against predicted class: leads and their share of the row, coloured by that share."""
    counts = curves.confusion(bins, threshold)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = _figure(f"Confusion matrix at threshold {threshold:g}", subject, bins.n)
    ax = figure.subplots()
    blues, norm = colormaps["Blues"], Normalize(0, 1.1)
    ax.imshow(shares, cmap=blues, norm=norm, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        ink = _ink(blues, norm(shares[row, column]))
        ax.text(column, row - 0.06, f"{count:,}", ha="center", va="center", color=ink, fontsize=22, weight="bold")
        ax.text(column, row + 0.14, f"{shares[row, column]:.1%} of the row", ha="center", va="center", color=ink)
    classes = ["not converted", "converted"]
    ax.set_xticks([0, 1], classes, fontsize=11)
    ax.set_yticks([0, 1], classes, fontsize=11, rotation=90, va="center")
    ax.set_xlabel("predicted class")
    ax.set_ylabel("actual class")
    _tiled(ax, counts.shape)
    return figure


def calibration(bins: ScoreBins, subject: str, groups: int = 10) -> Figure:
    """Reliability diagram with Wilson 95% intervals in groups of equal size, above a histogram of the scores."""
    found = curves.reliability(bins, groups)
    error = curves.expected_calibration_error(found)
    figure = _figure(f"Calibration (expected calibration error {error:.3f})", subject, bins.n)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _clean(upper).plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.3, label="perfectly calibrated")
    reach = [found.observed - found.low, found.high - found.observed]
    label = f"{len(found.leads)} groups of about {bins.n // len(found.leads):,} leads, 95% interval"
    style = {"fmt": "o-", "color": BLUE, "ms": 5, "lw": 1.5, "elinewidth": 1.5, "capsize": 4}
    upper.errorbar(found.predicted, found.observed, reach, label=label, **style)
    _shares(upper, "", "observed rate\n(% converted)")
    _legend(upper)
    step = -(-len(bins.edges) // 40)
    starts = np.arange(0, len(bins.edges), step)
    widths = np.diff(np.append(bins.edges[starts], 1))
    won, lost = (np.add.reduceat(side, starts) for side in (bins.positives, bins.negatives))
    middles, widths = bins.edges[starts] + widths / 2, widths * 0.92
    _clean(lower, "y").bar(middles, won, widths, color=BLUE, label="converted")
    lower.bar(middles, lost, widths, won, color=ORANGE, label="not converted")
    lower.set(xlabel="predicted probability (%)", ylabel="leads")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _legend(lower)
    return figure


def lift(bins: ScoreBins, subject: str) -> Figure:
    """Cumulative gains, with the lift when the best 10% and 20% of the leads are contacted."""
    gains = curves.cumulative_gains(bins)
    figure = _figure("Cumulative gains and lift", subject, bins.n)
    ax = _clean(figure.subplots())
    ax.plot([0, gains.base_rate, 1], [0, 1, 1], color=ORANGE, ls=":", lw=1.8, label="perfect order")
    ax.plot(gains.contacted, gains.reached, color=BLUE, lw=2.2, label="leads in the model's order")
    ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.3, label="random order, lift 1")
    for share in (0.1, 0.2):
        reached, times = gains.at(share)
        text = f"best {share:.0%} of leads: {reached:.0%} of the converted, lift {times:.2f}"
        _point(ax, share, reached, text, (14, -6))
    _shares(ax, "leads contacted, best score first (% of leads)", "converted leads reached (% of converted leads)")
    _legend(ax)
    return figure


def parallel_coordinates(
    candidates: Sequence[Mapping[str, Any]], metric: str, subject: str = "", *, lower: bool = False
) -> Figure:
    """One line per candidate across its parameters to the metric, coloured by it; the best ones stand out.

    Every key but `metric` is a parameter, of numbers or of words. `lower` says that a lower metric is better.
    Candidates with the same metric are counted beside its axis. NothingToPlot without a finite metric.
    """
    rows = _finite(candidates, metric, lower)
    names = list(dict.fromkeys(name for row in rows for name in row if name != metric))
    scores = np.array([float(row[metric]) for row in rows])
    colours, norm = _colours(scores, lower)
    figure = _figure("Candidates of the search", subject, len(rows), "candidate")
    ax = figure.subplots()
    # Lines through the same value lie side by side, in the order of their metric.
    spread = np.linspace(0.02, -0.02, len(rows)) if len(rows) > 1 else np.zeros(1)
    columns = [_positions(ax, x, [row.get(name, "not set") for row in rows], spread) for x, name in enumerate(names)]
    end = len(names)
    paths = np.column_stack([*columns, _metric_axis(ax, end, scores, colours)])
    tied = int((scores == scores[0]).sum())
    for path, score in list(zip(paths, scores, strict=True))[: tied - 1 : -1]:
        ax.plot(range(end + 1), path, color=colours(norm(score)), lw=1.3, alpha=0.85)
    for path in paths[:tied]:
        ax.plot(range(end + 1), path, color="white", lw=5)
        ax.plot(range(end + 1), path, color=VERMILLION, lw=2.8, marker="o", ms=6, zorder=3.5, clip_on=False)
    labels = [*map(_label, names), _direction(metric, lower)]
    ax.set_xticks(range(end + 1), [textwrap.fill(label, 12) for label in labels])
    ax.set(xlim=(-0.1, end + 0.12), ylim=(-0.05, 1.05), yticks=[], frame_on=False)
    ax.tick_params(axis="x", length=0, pad=8)
    ax.set_xlabel(_best(rows, names, metric, tied), fontsize=10)
    ax.set_ylabel("value (each axis has its own scale)", labelpad=36)
    return figure


def grid_heatmap(
    candidates: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    metric: str,
    std: str | None = None,
    subject: str = "",
    *,
    lower: bool = False,
) -> Figure:
    """The metric over two parameters, mean and (key `std`) standard deviation in each cell; the best is framed.

    Along more than eight values there is no room for the deviation, and it is left out.
    Where several candidates share a cell, the best of them is shown. Cells without a candidate stay grey.
    """
    rows = _finite(candidates, metric, lower)
    across, up = (_ordered({row[name] for row in rows}) for name in (x, y))
    cells: dict[tuple[int, int], Mapping[str, Any]] = {}
    for row in rows:
        cells.setdefault((up.index(row[y]), across.index(row[x])), row)
    scores = np.full((len(up), len(across)), np.nan)
    for cell, row in cells.items():
        scores[cell] = row[metric]
    colours, norm = _colours(scores[np.isfinite(scores)], lower)
    many = max(len(across), len(up)) > FEW_VALUES
    figure = _figure(f"{_label(metric)} by {_label(x)} and {_label(y)}", subject, len(rows), "candidate")
    ax = figure.subplots()
    ax.set_facecolor(PALE)
    image = ax.imshow(scores, cmap=colours, norm=norm, aspect="auto", origin="lower")
    for (row_at, column), row in cells.items():
        text = f"{row[metric]:.4f}" + (f"\n±{row[std]:.4f}" if std and std in row and not many else "")
        ink = _ink(colours, norm(row[metric]))
        ax.text(column, row_at, text, ha="center", va="center", color=ink, fontsize=8 if many else 10)
    ax.set_xticks(range(len(across)), [_value(v) for v in across])
    ax.set_yticks(range(len(up)), [_value(v) for v in up])
    ax.set(xlabel=_label(x), ylabel=_label(y))
    _tiled(ax, scores.shape)
    _frame(ax, [cell for cell, row in cells.items() if row[metric] == rows[0][metric]])
    _legend(ax)
    figure.colorbar(image, ax=ax, label=_direction(metric, lower), pad=0.02).outline.set_visible(False)
    return figure


def trials(history: Sequence[float], metric: str, subject: str = "", *, lower: bool = False) -> Figure:
    """The metric of every trial in the order they ran, and the best so far; trials that are not finite are left out."""
    held = np.isfinite(history)
    values, ran = np.where(held, history, np.nan), np.arange(1, len(history) + 1)
    _require(values[held], "trial with a finite metric")
    so_far = (np.fmin if lower else np.fmax).accumulate(values)
    best = int((np.nanargmin if lower else np.nanargmax)(values))
    figure = _figure(f"{_label(metric)} over the trials of the search", subject, int(held.sum()), "trial")
    ax = _clean(figure.subplots())
    ax.scatter(ran[held], values[held], s=30, color=BLUE, alpha=0.7, lw=0, label="trial")
    ax.step(ran, so_far, where="post", color=VERMILLION, lw=2, label="best so far")
    label = f"best: {values[best]:.4f} in trial {best + 1}"
    ax.scatter(ran[best], values[best], s=130, facecolors="none", edgecolors=VERMILLION, lw=2, zorder=3, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.set(xlabel="trial (in the order they ran)", ylabel=_direction(metric, lower), xlim=(0.3, len(values) + 0.7))
    _legend(ax)
    return figure


def _figure(title: str, subject: str, n: int, unit: str = "lead") -> Figure:
    """An empty figure with the title, and beneath it the subject and the sample size."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    told = "; ".join(part for part in (subject, f"n = {n:,} {unit}{'' if n == 1 else 's'}") if part)
    lines = textwrap.wrap(told, 108, max_lines=3, placeholder=" …")
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 0.89 - 0.03 * len(lines))))
    title = _plain(title[:1].upper() + title[1:])
    figure.suptitle(title, x=0.02, y=0.975, ha="left", va="top", fontsize=14, weight="bold", color=INK)
    figure.text(0.02, 0.915, _plain("\n".join(lines)), ha="left", va="top", fontsize=9.5, color="#555555")
    return figure


def _clean(ax: Axes, grid: Literal["x", "y", "both"] = "both") -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.grid(axis=grid, color=PALE, lw=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(color=GREY, labelsize=10)
    return ax


def _tiled(ax: Axes, shape: tuple[int, ...]) -> None:
    """White gaps between the cells of an image, no frame, no ticks."""
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", lw=3)
    ax.tick_params(which="both", length=0)


def _frame(ax: Axes, cells: Sequence[tuple[int, int]]) -> None:
    """Frame the best cells (row, column); the first frame has a name in the legend."""
    for label, (row, column) in zip(["best", *[None] * len(cells)], cells, strict=False):
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec=VERMILLION, lw=3.5, zorder=3, clip_on=False, label=label))


def _shares(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Both axes from 0 to 100%."""
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), xlabel=xlabel, ylabel=ylabel)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))


def _legend(ax: Axes) -> None:
    """One row above the axes, where it can hide no data."""
    columns = len(ax.get_legend_handles_labels()[0])
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=columns, fontsize=10, frameon=False, columnspacing=1.6)


def _mark_half(ax: Axes, x: curves.Floats, y: curves.Floats, thresholds: curves.Floats, side: Side) -> None:
    """Mark the point of all leads with a score of 0.5 and more; the text starts at its left or ends at its right."""
    at = int(np.flatnonzero(thresholds >= 0.5)[-1])
    _point(ax, float(x[at]), float(y[at]), "threshold 0.5", (10 if side == "left" else -10, -14), side)


def _point(ax: Axes, x: float, y: float, text: str, offset: tuple[int, int], side: Side = "left") -> None:
    ax.plot([x], [y], "o", color=VERMILLION, ms=8, mec="white", mew=1.2, zorder=4)
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
    ax.annotate(text, (x, y), offset, textcoords="offset points", ha=side, color=INK, bbox=box, zorder=5)


def _positions(ax: Axes, x: int, values: Sequence[Any], spread: curves.Floats) -> curves.Floats:
    """Draw a parameter's axis at `x`; heights from 0 to 1 of the values."""
    distinct = _ordered(set(values))
    ax.axvline(x, color=GREY, lw=1, zorder=0)
    if len(distinct) <= FEW_VALUES or not all(_is_number(v) for v in distinct):
        heights = np.linspace(0, 1, len(distinct)) if len(distinct) > 1 else np.array([0.5])
        _ticks(ax, x, heights, [_value(v) for v in distinct])
        return np.array([heights[distinct.index(v)] for v in values]) + spread
    low, high = float(distinct[0]), float(distinct[-1])
    marks = _marks(low, high)
    _ticks(ax, x, (marks - low) / (high - low), [_value(m) for m in marks])
    return (np.array(values, dtype=float) - low) / (high - low)


def _metric_axis(ax: Axes, x: int, scores: curves.Floats, colours: Colormap) -> curves.Floats:
    """Draw the metric's axis at `x` as a strip of its colours; heights from 0 to 1 of the scores."""
    low, high = _span(scores)
    ramp = np.linspace(0, 1, 256)[:, None]
    ax.imshow(ramp, cmap=colours, extent=(x, x + 0.06, 0, 1), origin="lower", aspect="auto", zorder=3)
    marks = _marks(low, high)
    decimals = max(len(f"{m:.6g}".partition(".")[2]) for m in marks)
    for mark in marks:
        _beside(ax, x + 0.06, (mark - low) / (high - low), f"{mark:.{decimals}f}", 4)
    labelled = -1.0
    for score, count in zip(*np.unique(scores, return_counts=True), strict=True):
        height = (score - low) / (high - low)
        if count > 1 and height - labelled > 0.03:
            _beside(ax, x + 0.06, height, f"{count} tied", 48)
            labelled = height
    return (scores - low) / (high - low)


def _beside(ax: Axes, x: float, height: float, text: str, points: int) -> None:
    """Text some points to the right of a height on the axis at `x`."""
    ax.annotate(text, (x, height), (points, 0), textcoords="offset points", va="center", fontsize=9.5, color=INK)


def _marks(low: float, high: float) -> curves.Floats:
    marks = np.asarray(MaxNLocator(6).tick_values(low, high))
    return marks[(marks >= low) & (marks <= high)]


def _ticks(ax: Axes, x: int, heights: Sequence[float] | curves.Floats, labels: Sequence[str]) -> None:
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    for height, label in zip(heights, labels, strict=True):
        ax.text(x - 0.03, height, label, ha="right", va="center", fontsize=9.5, color=INK, bbox=box, zorder=4)


def _best(rows: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str, tied: int) -> str:
    """The best candidate in words, wrapped to the picture's width."""
    # A no-break space keeps a parameter and its value on one line.
    pairs = (f"{_label(name)} {_value(rows[0].get(name, 'not set'))}" for name in names)
    setting = ", ".join(pair.replace(" ", "\N{NO-BREAK SPACE}") for pair in pairs)
    lead = "best" if tied == 1 else f"{tied} candidates tie as best; the first"
    text = f"{lead}: {_label(metric)} {rows[0][metric]:.4f} with {setting}"
    return textwrap.fill(text, 100, max_lines=3, placeholder=" …")


def _finite(candidates: Sequence[Mapping[str, Any]], metric: str, lower: bool) -> list[Mapping[str, Any]]:
    """Candidates with a finite metric, best first; equals keep their order."""
    rows = [row for row in candidates if np.isfinite(row[metric])]
    _require(rows, f"candidate with a finite {metric}")
    return sorted(rows, key=lambda row: row[metric] if lower else -row[metric])


def _colours(scores: curves.Floats, lower: bool) -> tuple[Colormap, Normalize]:
    """Colours of a metric, its best value the darkest; a value that stands alone gets a scale around it."""
    low, high = _span(scores)
    return GOOD.reversed() if lower else GOOD, Normalize(low, high)


def _span(scores: curves.Floats) -> tuple[float, float]:
    low, high = float(scores.min()), float(scores.max())
    margin = 0.0 if low < high else abs(low) * 0.01 or 0.01
    return low - margin, high + margin


def _ordered(values: set[Any]) -> list[Any]:
    """Numbers first, ascending; then words."""
    return sorted(values, key=lambda v: (0, v, "") if _is_number(v) else (1, 0, str(v)))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _value(value: Any) -> str:
    return f"{value:g}" if _is_number(value) else _plain(textwrap.shorten(str(value), 16, placeholder="…"))


def _label(name: str) -> str:
    return LABELS.get(name, _plain(name.replace("_", " ")))


def _direction(metric: str, lower: bool) -> str:
    return f"{_label(metric)} (lower is better)" if lower else _label(metric)


def _plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def _ink(colours: Colormap, at: float) -> str:
    """Dark or white, whichever stands out more on this colour (relative luminance of WCAG 2)."""
    channels = np.array(colours(at)[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return INK if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"


def _require(found: Sized, what: str) -> None:
    if len(found) == 0:
        raise NothingToPlot(f"there is no {what} to plot; at least one is needed. Finish a run or a search first.")
