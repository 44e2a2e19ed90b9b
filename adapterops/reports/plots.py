"""Figures as PNG, where matplotlib is installed."""

from __future__ import annotations

import io
import math
import warnings
from importlib.util import find_spec
from typing import Any

from adapterops.reports.figures import Bars, Figure, Heatmap, Lines
from adapterops.reports.svg import COLOURS, ILLEGAL, RAMP, SIGNED, short

INCH = 360 / 4.5
"""Figures are as wide as on a phone, at twice its resolution."""


def available() -> bool:
    """Whether there is a matplotlib."""
    return find_spec("matplotlib") is not None


def png(figure: Figure) -> bytes:
    """A figure as a PNG; the same figure gives the same bytes with the same matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    height = len(figure.rows) * 0.2 + 1.2 if isinstance(figure, Heatmap) else 3.4
    if isinstance(figure, Bars):
        height = len(figure.groups) * len(figure.series) * 0.16 + len(figure.groups) * 0.1 + 1.0
    sheet = Sheet(figsize=(4.5, max(height, 2.0)), dpi=2 * INCH, layout="constrained")
    FigureCanvasAgg(sheet)
    axes = sheet.add_subplot()
    sheet.suptitle(_plain(short(figure.title, 56)), x=0.02, ha="left", fontsize=9)
    axes.tick_params(labelsize=7)
    {Lines: _lines, Heatmap: _heatmap, Bars: _bars}[type(figure)](figure, axes, sheet)  # type: ignore[operator]  # each takes its own kind
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its font does not have
        sheet.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _lines(figure: Lines, axes: Any, sheet: Any) -> None:
    styles = ("-", "--", ":", "-.")
    for each in figure.series:
        points = [(a, b) for a, b in each.points if math.isfinite(a + b) and (b > 0 or not figure.log_y) and (a > 0 or not figure.log_x)]
        if points:
            colour: str = COLOURS[each.style % len(COLOURS)]
            look: dict[str, Any] = {"alpha": 0.16, "linewidth": 0.7}
            if not each.faint:
                look = {
                    "linewidth": 1.8,
                    "linestyle": styles[each.style % len(styles)],
                    "marker": ".",
                    "label": _plain(short(each.label, 40)),
                }
            axes.plot(*zip(*points, strict=True), color=colour, **look)
    axes.set_xscale("log" if figure.log_x else "linear")
    axes.set_yscale("log" if figure.log_y else "linear")
    if figure.ticks:
        axes.set_xticks(list(figure.ticks), [figure.x_form(tick) for tick in figure.ticks], rotation=45 if figure.log_x else 0)
        axes.minorticks_off()
    if not figure.log_y:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: figure.y_form(value))
    for place, word in figure.marks:
        axes.axvline(place, color="0.4", linestyle="--", linewidth=0.8)
        axes.annotate(_plain(word), (place, 1), xycoords=("data", "axes fraction"), fontsize=7, va="bottom", ha="right")
    axes.set_xlabel(_plain(figure.x), fontsize=8)
    axes.set_ylabel(_plain(figure.y), fontsize=8)
    axes.grid(alpha=0.2)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7)


def _heatmap(figure: Heatmap, axes: Any, sheet: Any) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("adapterops", SIGNED if figure.signed else RAMP)
    values = [[math.nan if value is None else value for value in row] for row in figure.values]
    if not values or not values[0]:
        return
    low, high = figure.limits
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(figure.columns)), [_plain(short(column, 18)) for column in figure.columns], rotation=45, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(figure.rows)), [_plain(short(row, 17)) for row in figure.rows], fontsize=5 if len(figure.rows) > 20 else 7)
    sheet.colorbar(image, ax=axes, format=lambda value, _: figure.form(value)).ax.tick_params(labelsize=7)


def _bars(figure: Bars, axes: Any, sheet: Any) -> None:
    thick = 0.85 / max(len(figure.series), 1)
    for style, series in enumerate(figure.series):
        lengths = [0.0 if (value := row[style]) is None or not math.isfinite(value) else value for row in figure.values]
        places = [group + style * thick for group in range(len(figure.groups))]
        bars = axes.barh(places, lengths, thick * 0.9, color=COLOURS[style % len(COLOURS)], label=_plain(short(series, 40)))
        axes.bar_label(bars, [figure.form(length) for length in lengths], fontsize=6, padding=2)
    axes.set_yticks(
        [group + (len(figure.series) - 1) * thick / 2 for group in range(len(figure.groups))],
        [_plain(short(group, 24)) for group in figure.groups],
    )
    axes.invert_yaxis()
    axes.margins(x=0.28)
    axes.xaxis.set_major_formatter(lambda value, _: figure.form(value))
    if len(figure.series) > 1:
        axes.legend(fontsize=7)


def _plain(text: str) -> str:
    """Text that matplotlib takes as it is, and not for mathematics or a label to hide."""
    return ILLEGAL.sub("\ufffd", text).replace("$", r"\$").replace("_", "\u200b_", text.startswith("_"))
