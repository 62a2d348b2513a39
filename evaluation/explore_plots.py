"""Pictures of a look at leads. Fields that are known only after leads are scored are vermillion everywhere."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from evaluation.exploration import Association, Categories, Exploration, Numbers, Rate
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
    plain,
    require,
    tiled,
)

TOP_FIELDS = 22
TOP_PAIRS = 10


def pictures(found: Exploration, subject: str) -> dict[str, Figure]:
    """Every picture of a look at leads by its file name, without those for which there is nothing to draw."""
    drawn = {"missing": missing(found, subject), "trend": trend(found, subject)}
    if len(found.association.names) > 1:
        drawn["label_association"] = label_association(found, subject)
    if len(found.association.names) > 2:
        drawn["field_association"] = field_association(found.association, subject)
    for field in found.categories:
        if len(field.words) > 1:
            drawn[f"category_{field.name}"] = category(field, found.all, subject, found.late(field.name))
    for number_field in found.numbers:
        drawn[f"number_{number_field.name}"] = number(number_field, found.all, subject, found.late(number_field.name))
    return drawn


def missing(found: Exploration, subject: str) -> Figure:
    """Bars of the share of leads without an answer, by field, the largest first."""
    top = sorted(found.profiles, key=lambda p: -p.missing_share)[:TOP_FIELDS]
    require(top, "feature field")
    figure = new_figure("Missing answers by field", subject, found.all.leads)
    shares = {p.name: p.missing_share for p in top}
    ax = _bars(figure, shares, found, "{:.1%}")
    rest = f"; the first {TOP_FIELDS} of {len(found.profiles)} fields" if len(found.profiles) > TOP_FIELDS else ""
    ax.set_xlabel(f"leads without an answer (%){rest}")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    return figure


def label_association(found: Exploration, subject: str) -> Figure:
    """Bars of the association of every field with the label, the largest first."""
    shares = found.association.of_label()
    require(shares, "field with more than one value")
    figure = new_figure(f"How strongly each field goes with {found.label}", subject, found.association.leads)
    ax = _bars(figure, dict(list(shares.items())[:TOP_FIELDS]), found, "{:.2f}")
    ax.set_xlabel("Cramer's V with the label, missing as a value of its own (0 none, 1 full)")
    return figure


def field_association(found: Association, subject: str) -> Figure:
    """Heat map of the association between the fields that go most with the label."""
    names = list(found.of_label())[:TOP_PAIRS]
    places = [found.names.index(name) for name in names]
    matrix = np.array(found.matrix)[np.ix_(places, places)]
    figure = new_figure("How fields go together", subject, found.leads)
    ax = figure.subplots()
    blues, norm = colormaps["Blues"], Normalize(0, 1.1)
    ax.imshow(matrix, cmap=blues, norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(matrix):
        if row != column:
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink_on(blues, norm(value)), fontsize=9)
    ax.set_xticks(range(len(names)), [plain(n) for n in names], rotation=40, ha="right", fontsize=9)
    ax.set_yticks(range(len(names)), [plain(n) for n in names], fontsize=9)
    ax.set_xlabel(f"Cramer's V of the {len(names)} fields that go most with the label (0 none, 1 full)")
    tiled(ax, matrix.shape)
    return figure


def trend(found: Exploration, subject: str) -> Figure:
    """Conversion with its 95% interval along the order field, the newest last."""
    held = found.periods
    require(held, "period")
    figure = new_figure("Conversion over time", subject, found.all.leads)
    ax = clean(figure.subplots())
    middles = [(p.first + p.last) / 2 for p in held]
    size = found.all.leads // len(held)
    _rates(
        ax, middles, [p.rate for p in held], f"{len(held)} periods of about {size:,} leads, 95% interval", joined=True
    )
    _base(ax, found.all, "h")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(xlabel=f"{found.order} (rises with time; newest leads at the right)", ylabel="converted (% of the leads)")
    ax.set_ylim(0, None)
    legend_above(ax)
    return figure


def category(field: Categories, every: Rate, subject: str, late: bool) -> Figure:
    """Conversion with its 95% interval by the words of a field, the most frequent at the top."""
    rows = [(word, rate) for word, rate in field.words]
    rows += [(name, rate) for name, rate in (("(other)", field.other), ("(missing)", field.missing)) if rate.leads]
    require(rows, f"answer of {field.name}")
    figure = new_figure(_title(field.name, late), subject, every.leads)
    ax = clean(figure.subplots(), "x")
    places = list(range(len(rows)))
    _rates(ax, places, [r for _, r in rows], "95% interval", across=True, colour=VERMILLION if late else BLUE)
    _base(ax, every, "v")
    names = [f"{plain(_short(word))}  ({rate.leads:,})" for word, rate in rows]
    ax.set_yticks(places, names, fontsize=9.5)
    ax.set_ylim(max(len(rows), 5) - 0.5, -0.5)
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set(xlabel="converted (% of the leads with this answer)", ylabel="answer (leads)")
    legend_above(ax)
    return figure


def number(field: Numbers, every: Rate, subject: str, late: bool) -> Figure:
    """Conversion by bins of a number with its 95% interval, above a histogram by label."""
    figure = new_figure(_title(field.name, late), subject, every.leads)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    edges = np.array(field.edges)
    width = float(edges[1] - edges[0]) if len(edges) > 1 else 1.0
    middles = edges + width / 2
    held = [i for i, rate in enumerate(field.bins) if rate.leads]
    colour = VERMILLION if late else BLUE
    _rates(clean(upper), [middles[i] for i in held], [field.bins[i] for i in held], "95% interval", colour=colour)
    _base(upper, every, "h")
    upper.set(ylim=(-0.02, 1.02), ylabel="converted\n(% of the bin's leads)")
    upper.yaxis.set_major_formatter(PercentFormatter(1))
    legend_above(upper)
    won = np.array([rate.converted for rate in field.bins])
    lost = np.array([rate.leads for rate in field.bins]) - won
    clean(lower, "y").bar(middles, won, width * 0.92, color=BLUE, label="converted")
    lower.bar(middles, lost, width * 0.92, won, color=ORANGE, label="not converted")
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    lower.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    unit = f" ({field.unit})" if field.unit else ""
    lower.set(ylabel="leads", xlabel=f"{field.name}{unit}; bins of {width:g}, the last from {edges[-1]:,g} up")
    if field.missing.leads:
        lower.set_title(f"{field.missing.leads:,} leads have no answer", loc="right", fontsize=9.5, color=GREY)
    legend_above(lower)
    return figure


def _bars(figure: Figure, shares: Mapping[str, float], found: Exploration, form: str) -> Axes:
    """Horizontal bars by field, late ones vermillion, each with its value."""
    ax = clean(figure.subplots(), "x")
    colours = [VERMILLION if found.late(name) else BLUE for name in shares]
    bars = ax.barh([plain(name) for name in shares], list(shares.values()), color=colours, height=0.7)
    ax.bar_label(bars, [form.format(share) for share in shares.values()], padding=4, fontsize=9, color=INK)
    ax.set_ylim(max(len(shares), 6) - 0.5, -0.5)
    ax.set_xlim(0, max(*shares.values(), 0.05) * 1.12)
    ax.tick_params(axis="y", length=0)
    ax.set_ylabel("field of the lead")
    handles = [Patch(color=BLUE, label=f"known when scored ({found.score_at} or earlier)")]
    handles.append(Patch(color=VERMILLION, label="known only later"))
    ax.legend(handles=handles, loc="lower right", fontsize=10, frameon=True, framealpha=0.9, edgecolor="none")
    return ax


def _rates(
    ax: Axes,
    places: Sequence[float],
    rates: Sequence[Rate],
    label: str,
    across: bool = False,
    joined: bool = False,
    colour: str = BLUE,
) -> None:
    """Points of the rates with their intervals, at `places` along x, or along y where drawn `across`."""
    values = [rate.value or 0.0 for rate in rates]
    ends = [rate.interval or (0.0, 0.0) for rate in rates]
    reach = [
        [v - low for v, (low, _) in zip(values, ends, strict=True)],
        [high - v for v, (_, high) in zip(values, ends, strict=True)],
    ]
    style: dict[str, Any] = {
        "fmt": "o-" if joined else "o",
        "color": colour,
        "ms": 5,
        "lw": 1.2,
        "elinewidth": 1.5,
        "capsize": 3,
    }
    if across:
        ax.errorbar(values, places, xerr=reach, label=label, **style)
    else:
        ax.errorbar(places, values, yerr=reach, label=label, **style)


def _base(ax: Axes, every: Rate, way: str) -> None:
    style: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 1.3, "label": f"all leads: {every.value or 0:.1%}"}
    if way == "h":
        ax.axhline(every.value or 0, **style)
    else:
        ax.axvline(every.value or 0, **style)


def _title(name: str, late: bool) -> str:
    return f"Conversion by {name}" + (" (known only after scoring)" if late else "")


def _short(word: str) -> str:
    return textwrap.shorten(word, 34, placeholder=" …") if " " in word else word[:33] + "…" * (len(word) > 33)
