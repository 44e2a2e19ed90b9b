"""Figures as SVG: one file each, without script, without anything from elsewhere, readable in grey and in the dark.

Lines differ by colour and by dashes, cells hold their numbers where there is room, and everything that stands for a
number has it as its <title>: what a browser shows when it is pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from adapterops.reports.figures import Bars, Figure, Form, Heatmap, Lines, Series, power_ticks, round_ticks
from adapterops.reports.ink import (
    STYLE,
    WIDTH,
    colour,
    drawable,
    escape,
    fill,
    legend,
    on,
    short,
    stroke,
    wide,
    written,
)

TALL = 300
"""Pixels of the rows of a heatmap, before each has the height of its numbers or after it has too little to be seen."""

LEAN = 0.74
"""Width and height of slanted text, as a fraction of its length."""

DOTS = 80
"""Points of a line that are marked."""


def svg(figure: Figure, standalone: bool = False) -> str:
    """A figure as SVG text; `standalone`, as a file of its own: with the style that a page has once for all of them."""
    draw = {Lines: _lines, Heatmap: _heatmap, Bars: _bars}[type(figure)]
    body, height = draw(figure)  # type: ignore[operator]  # each takes its own kind
    head = f'<svg class="ao" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img"'
    if standalone:
        head += f' width="{WIDTH}" height="{height:g}"'
        title = f'<text x="8" y="16" font-weight="600">{escape(short(figure.title, 56))}</text>'
        body = title + f'<g transform="translate(0 22)">{body}</g>'
        head = head.replace(f"{height:g}", f"{height + 22:g}")
    style = f"<style>{STYLE}</style>" if standalone else ""
    return f"{head}><title>{escape(figure.title)}</title>{style}{body}</svg>\n"


def _lines(figure: Lines) -> tuple[str, float]:
    names, top = legend([(each.label, each.style) for each in figure.series if not each.faint])
    right = WIDTH - 22
    series = [_finite(figure, each) for each in figure.series]
    points = [point for each in series for point in each.points]
    if not points:
        return names + written(WIDTH / 2, top + 48, "nothing to draw", "middle"), top + 68
    heights = [p[1] for p in points] + ([] if figure.log_y else [0.0, *figure.reach])
    left = 30 + max(1.15 * wide(figure.y_form(tick)) for tick in _Axis(heights, 0, 1, figure.log_y).ticks())
    x = _Axis([p[0] for p in points] + [mark for mark, _ in figure.marks], left, right, figure.log_x)
    marks = _marks(figure, x)
    top += 8 + 13 * (1 + max((row for *_, row in marks), default=-1))
    bottom = top + 190
    y = _Axis(heights, bottom, top, figure.log_y)
    parts = [names]
    for value in y.ticks():
        parts.append(
            f'<path class="grid" d="M{left:.1f} {y(value):.1f}H{right}"/>'
            + written(left - 5, y(value) + 4, figure.y_form(value), "end")
        )
    for value in _spaced(figure.ticks or x.ticks(), x, figure.x_form):
        parts.append(
            f'<path class="grid" d="M{x(value):.1f} {top}V{bottom}"/>'
            + written(x(value), bottom + 14, figure.x_form(value), "middle")
        )
    parts.append(f'<path class="axis" fill="none" d="M{left:.1f} {top}V{bottom}H{right}"/>')
    parts += [_line(figure, each, x, y) for each in series if each.points]
    for at, anchor, word, row in marks:
        above = top - 5 - 13 * row
        parts.append(f'<path class="axis" stroke-dasharray="4 3" d="M{at:.1f} {above + 1}V{bottom}"/>')
        parts.append(written(at + (4 if anchor == "start" else -4), above, word, anchor))
    parts.append(written((left + right) / 2, bottom + 30, figure.x, "middle"))
    middle = (top + bottom) / 2
    parts.append(
        f'<text transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(figure.y)}</text>'
    )
    return "".join(parts), bottom + 38


def _line(figure: Lines, series: Series, x: _Axis, y: _Axis) -> str:
    """A line with its points; a faint one has its name alone."""
    colour, dash = stroke(series.style)
    path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in series.points)
    kind = 'class="faint"' if series.faint else f'class="line"{dash}'
    parts = [f'<path {kind} stroke="{colour}" d="M{path}"><title>{escape(series.label)}</title></path>']
    for a, b in [] if series.faint else series.points[:: -(-len(series.points) // DOTS) or 1]:
        tip = escape(f"{series.label}: {figure.x} {figure.x_form(a)}, {figure.y_form(b)}")
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.4" fill="{colour}"><title>{tip}</title></circle>')
    return "".join(parts)


def _marks(figure: Lines, x: _Axis) -> list[tuple[float, str, str, int]]:
    """Where each mark is, on which side of it its word, and in which row above the plot: words do not touch each other,
    and the last mark is the lowest, so that its line crosses no word.
    """
    found: list[tuple[float, str, str, int]] = []
    taken: list[list[tuple[float, float]]] = []
    for value, word in sorted(figure.marks, reverse=True):
        at, room = x(value), wide(word) + 10
        anchor = "end" if at + room > WIDTH else "start"
        begin, end = (at - room, at) if anchor == "end" else (at, at + room)
        row = 0
        while row < len(taken) and any(begin < other_end and other < end for other, other_end in taken[row]):
            row += 1
        taken += [[]] * (row == len(taken))
        taken[row] = [*taken[row], (begin, end)]
        found.append((at, anchor, word, row))
    return found


def _finite(figure: Lines, series: Series) -> Series:
    """The series without what has no place on its axes."""
    kept = [
        (a, b)
        for a, b in series.points
        if math.isfinite(a + b) and not (figure.log_x and a <= 0) and not (figure.log_y and b <= 0)
    ]
    return Series(series.label, kept, series.style, series.faint)


class _Axis:
    """Values to pixels, `begin` to `end`."""

    def __init__(self, values: Sequence[float], begin: float, end: float, log: bool) -> None:
        self.low, self.high, self.begin, self.end, self.log = min(values), max(values), begin, end, log
        if self.low == self.high:
            self.low, self.high = (self.low / 2, self.high * 2) if log else (self.low, self.low + 1)

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        return power_ticks(self.low, self.high) if self.log else round_ticks(self.low, self.high)


def _spaced(ticks: Sequence[float], axis: _Axis, form: Form) -> list[float]:
    """Those of the ticks whose labels do not touch."""
    kept: list[float] = []
    for tick in ticks:
        room = wide(form(tick).ljust(2)) + 8
        if axis.low <= tick <= axis.high and (not kept or abs(axis(tick) - axis(kept[-1])) > room):
            kept.append(tick)
    return kept


def _heatmap(figure: Heatmap) -> tuple[str, float]:
    left = wide(max((short(row, 24) for row in figure.rows), key=len, default=""), small=True) + 14
    cell = min((WIDTH - left - 6) / max(len(figure.columns), 1), 76.0)
    high = min(17.0, max(TALL / max(len(figure.rows), 1), 4.0))
    labelled = math.ceil(10 / high)
    columns = [short(column, 24) for column in figure.columns]
    widest = max((wide(column, small=True) for column in columns), default=0)
    slanted = widest > cell - 6
    if slanted:  # the last name leans over the edge
        cell = min(cell, (WIDTH - left - LEAN * wide(columns[-1], small=True)) / (len(columns) - 0.5))
    top = 26 + (LEAN * widest + 6 if slanted else 14)
    parts = [_scale(figure)]
    for number, name in enumerate(columns):
        at = left + (number + 0.5) * cell
        place = f'transform="translate({at:.1f} {top - 4:.1f}) rotate(-45)"'
        tilted = f'<text class="small" {place}>{escape(name)}</text>'
        parts.append(tilted if slanted else written(at, top - 4, name, "middle", "small"))
    texts = (figure.form(v) for row in figure.values for v in row if v is not None and drawable(v))
    shown = high > 12 and cell >= 1.06 * max((wide(text, small=True) for text in texts), default=0)
    for down, (row, values) in enumerate(zip(figure.rows, figure.values, strict=True)):
        y = top + down * high
        if down % labelled == 0:
            parts.append(written(left - 5, y + high / 2 + 3.2, short(row, 24), "end", "small"))
        for across, value in enumerate(values):
            if value is None or not drawable(value):
                continue
            paint, x = colour(figure, value), left + across * cell
            tip = escape(f"{row}, {figure.columns[across]}: {figure.form(value)}")
            box = f'x="{x:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{high - 1:.1f}" fill="{paint}"'
            parts.append(f"<rect {box}><title>{tip}</title></rect>")
            if shown:
                parts.append(
                    written(x + cell / 2, y + high / 2 + 2.7, figure.form(value), "middle", f"small {on(paint)}")
                )
    return "".join(parts), top + high * len(figure.rows) + 6


def _scale(figure: Heatmap) -> str:
    """The colours, with the numbers at their ends."""
    low, high = figure.limits
    steps, step_wide = 24, 6.0
    start = 8 + wide(figure.form(low)) * 1.25 + 6
    parts = [written(8, 12, figure.form(low)), written(start + steps * step_wide + 4, 12, figure.form(high))]
    for step in range(steps):
        paint = colour(figure, low + (high - low) * step / (steps - 1))
        box = f'x="{start + step * step_wide:.1f}" y="3" width="{step_wide + 0.3:g}" height="10"'
        parts.append(f'<rect {box} fill="{paint}"/>')
    return "".join(parts)


def _bars(figure: Bars) -> tuple[str, float]:
    names, y = legend(
        [(name, style) for style, name in enumerate(figure.series)] if len(figure.series) > 1 else [], bars=True
    )
    left = wide(max((short(group, 24) for group in figure.groups), key=len, default="")) + 10
    known = [[v for v in row if v is not None and drawable(v)] for row in figure.values]
    ends = [sum(row) for row in known] if figure.stacked else [value for row in known for value in row]
    room = WIDTH - left - max((wide(figure.form(end)) for end in ends), default=0) - 10
    scale = room / (max(ends, default=0.0) or 1.0)
    thick = 15 if len(figure.series) == 1 or figure.stacked else 11
    parts = [names]
    y += 4
    for group, values in zip(figure.groups, figure.values, strict=True):
        rows = 1 if figure.stacked else len(values)
        parts.append(written(left - 6, y + thick * rows / 2 + 4, short(group, 24), "end"))
        begin = 0.0
        for style, value in enumerate(values):
            if value is not None and drawable(value):
                tip = escape(f"{group}, {figure.series[style]}: {figure.form(value)}")
                long = max(scale * value, 0.8)
                box = f'x="{left + begin:.1f}" y="{y:g}" width="{long:.1f}" height="{thick - 2}"'
                parts.append(f"<rect {box} {fill(style)}><title>{tip}</title></rect>")
                begin = begin + long if figure.stacked else 0.0
                if not figure.stacked:
                    kind = "small" if thick < 15 else ""
                    parts.append(written(left + long + 4, y + thick / 2 + 3, figure.form(value), kind=kind))
            y += 0 if figure.stacked else thick
        if figure.stacked:
            total = figure.form(sum(v for v in values if v is not None and drawable(v)))
            parts.append(written(left + begin + 4, y + thick / 2 + 3, total))
            y += thick
        y += 6
    return "".join(parts), y + 2
