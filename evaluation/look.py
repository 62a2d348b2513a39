"""The one look of every picture: Okabe-Ito colours, a title, the subject and the sample size, no pyplot.

Figures are 880 x 616 pixels and are drawn on their own canvas, so that any thread may draw.
"""

import textwrap
from collections.abc import Sized
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from evaluation.errors import EvaluationError

# Okabe and Ito 2008, "Color Universal Design": told apart with any colour vision.
BLUE, VERMILLION, ORANGE = "#0072B2", "#D55E00", "#E69F00"
GREY, PALE, INK = "#767676", "#E4E4E4", "#222222"
WIDTH, HEIGHT, DPI = 8.0, 5.6, 110


class NothingToPlot(EvaluationError):
    """A picture was asked for of no field, no candidate or no finished trial."""


def new_figure(title: str, subject: str, n: int, unit: str = "lead") -> Figure:
    """An empty figure with the title, and beneath it the subject and the sample size."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    told = "; ".join(part for part in (subject, f"n = {n:,} {unit}{'' if n == 1 else 's'}") if part)
    lines = textwrap.wrap(told, 108, max_lines=3, placeholder=" …")
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 0.89 - 0.03 * len(lines))))
    title = plain(title[:1].upper() + title[1:])
    figure.suptitle(title, x=0.02, y=0.975, ha="left", va="top", fontsize=14, weight="bold", color=INK)
    figure.text(0.02, 0.915, plain("\n".join(lines)), ha="left", va="top", fontsize=9.5, color="#555555")
    return figure


def clean(ax: Axes, grid: Literal["x", "y", "both"] = "both") -> Axes:
    """Light grid behind the data, no frame above and at the right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.grid(axis=grid, color=PALE, lw=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(color=GREY, labelsize=10)
    return ax


def tiled(ax: Axes, shape: tuple[int, ...]) -> None:
    """White gaps between the cells of an image, no frame, no ticks."""
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", lw=3)
    ax.tick_params(which="both", length=0)


def legend_above(ax: Axes) -> None:
    """One row above the axes, where it can hide no data."""
    columns = len(ax.get_legend_handles_labels()[0])
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=columns, fontsize=10, frameon=False, columnspacing=1.6)


def plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def ink_on(colours: Colormap, at: float) -> str:
    """Dark or white, whichever stands out more on this colour (relative luminance of WCAG 2)."""
    channels = np.array(colours(at)[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return INK if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"


def require(found: Sized, what: str) -> None:
    """NothingToPlot where there is none of `what`."""
    if len(found) == 0:
        raise NothingToPlot(f"there is no {what} to plot; at least one is needed. Finish a run or a search first.")
