"""Pictures of a sweep: its candidates side by side, and its progress. Higher is better unless `lower`."""

import textwrap
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from evaluation import curves
from evaluation.look import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILLION,
    clean,
    ink_on,
    legend_above,
    new_figure,
    plain,
    require,
    tiled,
)

# Dark is good. The palest end of viridis is left out: it is hard to see on white.
GOOD = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1, 256)))
LABELS = {"auc_roc": "ROC AUC", "auc_pr": "PR AUC", "f1": "F1", "log_loss": "log loss (nats)", "brier": "Brier score"}
# A parameter with up to so many values gets a tick for each, at equal distances.
FEW_VALUES = 8


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
    figure = new_figure("Candidates of the search", subject, len(rows), "candidate")
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
    figure = new_figure(f"{_label(metric)} by {_label(x)} and {_label(y)}", subject, len(rows), "candidate")
    ax = figure.subplots()
    ax.set_facecolor(PALE)
    image = ax.imshow(scores, cmap=colours, norm=norm, aspect="auto", origin="lower")
    for (row_at, column), row in cells.items():
        text = f"{row[metric]:.4f}" + (f"\n±{row[std]:.4f}" if std and std in row and not many else "")
        ink = ink_on(colours, norm(row[metric]))
        ax.text(column, row_at, text, ha="center", va="center", color=ink, fontsize=8 if many else 10)
    ax.set_xticks(range(len(across)), [_value(v) for v in across])
    ax.set_yticks(range(len(up)), [_value(v) for v in up])
    ax.set(xlabel=_label(x), ylabel=_label(y))
    tiled(ax, scores.shape)
    _frame(ax, [cell for cell, row in cells.items() if row[metric] == rows[0][metric]])
    legend_above(ax)
    figure.colorbar(image, ax=ax, label=_direction(metric, lower), pad=0.02).outline.set_visible(False)
    return figure


def trials(history: Sequence[float], metric: str, subject: str = "", *, lower: bool = False) -> Figure:
    """The metric of every trial in the order they ran, and the best so far; trials that are not finite are left out."""
    held = np.isfinite(history)
    values, ran = np.where(held, history, np.nan), np.arange(1, len(history) + 1)
    require(values[held], "trial with a finite metric")
    so_far = (np.fmin if lower else np.fmax).accumulate(values)
    best = int((np.nanargmin if lower else np.nanargmax)(values))
    figure = new_figure(f"{_label(metric)} over the trials of the search", subject, int(held.sum()), "trial")
    ax = clean(figure.subplots())
    ax.scatter(ran[held], values[held], s=30, color=BLUE, alpha=0.7, lw=0, label="trial")
    ax.step(ran, so_far, where="post", color=VERMILLION, lw=2, label="best so far")
    label = f"best: {values[best]:.4f} in trial {best + 1}"
    ax.scatter(ran[best], values[best], s=130, facecolors="none", edgecolors=VERMILLION, lw=2, zorder=3, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.set(xlabel="trial (in the order they ran)", ylabel=_direction(metric, lower), xlim=(0.3, len(values) + 0.7))
    legend_above(ax)
    return figure


def _frame(ax: Axes, cells: Sequence[tuple[int, int]]) -> None:
    """Frame the best cells (row, column); the first frame has a name in the legend."""
    for label, (row, column) in zip(["best", *[None] * len(cells)], cells, strict=False):
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec=VERMILLION, lw=3.5, zorder=3, clip_on=False, label=label))


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
    require(rows, f"candidate with a finite {metric}")
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
    return f"{value:g}" if _is_number(value) else plain(textwrap.shorten(str(value), 16, placeholder="…"))


def _label(name: str) -> str:
    return LABELS.get(name, plain(name.replace("_", " ")))


def _direction(metric: str, lower: bool) -> str:
    return f"{_label(metric)} (lower is better)" if lower else _label(metric)
