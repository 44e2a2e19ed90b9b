"""Figures as SVG: one file each, without script, without anything from elsewhere, readable in grey and in the dark.

Lines differ by colour and by dashes, cells hold their numbers where there is room, and everything tells its value when
pointed at.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from adapterops.reports.figures import Bars, Figure, Form, Heatmap, Lines, Series, power_ticks, round_ticks

WIDTH = 360
"""Of every figure, in the pixels of a phone: text has its own size there."""

CHARACTER = 5.9
"""About the width of a character in the 11 pixels of labels; in smaller ones in proportion."""

COLOURS = ("#2f7fc1", "#d9661f", "#2c9c6a", "#b35aa5", "#8a7a1f", "#5b6bd6", "#c2484f", "#4b9aa8")
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "5 2 1 2", "3 6")
RAMP = ("#fde725", "#addc30", "#5ec962", "#28ae80", "#21918c", "#2c728e", "#3b528b", "#472d7b", "#440154")
"""Viridis, the lightest first: its lightness falls evenly, so that it can be printed in grey."""

SIGNED = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
STYLE = """<style>
svg.ao{color:#1d2126;background:#fff;font-family:system-ui,-apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif;font-size:11px}
svg.ao text{fill:currentColor}
svg.ao .grid{stroke:currentColor;stroke-opacity:.15}
svg.ao .axis{stroke:currentColor;stroke-opacity:.55}
svg.ao .faint{fill:none;stroke-width:1;stroke-opacity:.16}
svg.ao .line{fill:none;stroke-width:2.2}
svg.ao .small{font-size:9px}
@media (prefers-color-scheme:dark){svg.ao{color:#e6e8ea;background:#15181c}}
@media print{svg.ao{color:#000;background:#fff}}
</style>"""

ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    """Text for XML, element or attribute, whatever is in it.

    >>> escape("</script><img onerror='x'>\\x00")
    '&lt;/script&gt;&lt;img onerror=&#x27;x&#x27;&gt;\ufffd'
    """
    return html.escape(ILLEGAL.sub("\ufffd", text))


def short(text: str, most: int) -> str:
    """
    >>> short("model.layers", 20), short("model.layers.12.self_attn", 11)
    ('model.layers', 'model…_attn')
    """
    keep = max(most - 1, 2)
    return text if len(text) <= most else text[: keep - keep // 2] + "…" + text[-(keep // 2) :]


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
    return f"{head}><title>{escape(figure.title)}</title>{STYLE if standalone else ''}{body}</svg>\n"


def _lines(figure: Lines) -> tuple[str, float]:
    legend, top = _legend([(each.label, each.style) for each in figure.series if not each.faint])
    top += 16 if figure.marks else 8
    left, right, bottom = 52, WIDTH - 22, top + 190
    series = [_finite(figure, each) for each in figure.series]
    points = [point for each in series for point in each.points]
    if not points:
        return legend + _text(WIDTH / 2, top + 40, "nothing to draw", "middle"), top + 60
    x = _Axis([p[0] for p in points] + [mark for mark, _ in figure.marks], left, right, figure.log_x)
    y = _Axis([p[1] for p in points] + ([] if figure.log_y else [0.0, *figure.reach]), bottom, top, figure.log_y)
    parts = [legend]
    for value in y.ticks():
        parts.append(
            f'<path class="grid" d="M{left} {y(value):.1f}H{right}"/>'
            + _text(left - 5, y(value) + 4, figure.y_form(value), "end")
        )
    for value in _spaced(figure.ticks or x.ticks(), x, figure.x_form):
        parts.append(
            f'<path class="grid" d="M{x(value):.1f} {top}V{bottom}"/>'
            + _text(x(value), bottom + 14, figure.x_form(value), "middle")
        )
    parts.append(f'<path class="axis" fill="none" d="M{left} {top}V{bottom}H{right}"/>')
    for each in series:
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in each.points)
        colour, dash = _stroke(each.style)
        if each.points:
            kind = 'class="faint"' if each.faint else f'class="line"{dash}'
            parts.append(f'<path {kind} stroke="{colour}" d="M{path}"><title>{escape(each.label)}</title></path>')
        for a, b in [] if each.faint else each.points[:: -(-len(each.points) // 80) or 1]:
            tip = escape(f"{each.label}: {figure.x_form(a)}, {figure.y_form(b)}")
            parts.append(
                f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.4" fill="{colour}"><title>{tip}</title></circle>'
            )
    for value, word in figure.marks:
        anchor = "end" if x(value) > (left + right) / 2 else "start"
        parts.append(f'<path class="axis" stroke-dasharray="4 3" d="M{x(value):.1f} {top - 4}V{bottom}"/>')
        parts.append(_text(x(value) + (4 if anchor == "start" else -4), top - 5, word, anchor))
    parts.append(_text((left + right) / 2, bottom + 30, figure.x, "middle"))
    middle = (top + bottom) / 2
    parts.append(
        f'<text transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(figure.y)}</text>'
    )
    return "".join(parts), bottom + 38


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
        room = CHARACTER * max(len(form(tick)), 2) + 8
        if axis.low <= tick <= axis.high and (not kept or abs(axis(tick) - axis(kept[-1])) > room):
            kept.append(tick)
    return kept


def _heatmap(figure: Heatmap) -> tuple[str, float]:
    left = min(max((len(row) for row in figure.rows), default=0), 17) * CHARACTER + 10
    cell = min((WIDTH - left - 6) / max(len(figure.columns), 1), 76.0)
    high = 17 if len(figure.rows) <= 64 else 9
    widest = max((len(column) for column in figure.columns), default=0) * CHARACTER * 9 / 11
    slanted = widest > cell - 3
    top = 22 + (min(widest, 90) * 0.72 + 6 if slanted else 14)
    parts = [_scale(figure, left)]
    for number, column in enumerate(figure.columns):
        at, name = left + (number + 0.5) * cell, escape(short(column, 18))
        place = (
            f'transform="translate({at:.1f} {top - 4:.1f}) rotate(-45)"'
            if slanted
            else f'x="{at:.1f}" y="{top - 4:.1f}"'
        )
        parts.append(f'<text class="small" {place} text-anchor="{"start" if slanted else "middle"}">{name}</text>')
    shown = cell >= 1.06 * CHARACTER * 9 / 11 * max(
        (len(figure.form(v)) for row in figure.values for v in row if v is not None and math.isfinite(v)), default=0
    )
    for down, (row, values) in enumerate(zip(figure.rows, figure.values, strict=True)):
        y = top + down * high
        if high > 10 or down % 2 == 0:
            parts.append(
                f'<text class="small" x="{left - 5:.1f}" y="{y + high / 2 + 3.2:.1f}" text-anchor="end">{escape(short(row, 17))}</text>'
            )
        for across, value in enumerate(values):
            if value is None or not math.isfinite(value):
                continue
            colour = _colour(figure, value)
            tip = escape(f"{row}, {figure.columns[across]}: {figure.form(value)}")
            x = left + across * cell
            parts.append(
                f'<rect x="{x:.1f}" y="{y:g}" width="{cell - 1:.1f}" height="{high - 1}" fill="{colour}"><title>{tip}</title></rect>'
            )
            if shown and high > 10:
                ink = "#000" if _lightness(colour) > 0.45 else "#fff"
                parts.append(
                    f'<text class="small" x="{x + cell / 2:.1f}" y="{y + 11.5:g}" text-anchor="middle" '
                    f'style="fill:{ink}" pointer-events="none">{escape(figure.form(value))}</text>'
                )
    return "".join(parts), top + high * len(figure.rows) + 6


def _scale(figure: Heatmap, left: float) -> str:
    """The colours, with the numbers at their ends."""
    low, high = figure.limits
    steps = 24
    wide = 6.0
    start = left + len(figure.form(low)) * 1.2 * CHARACTER + 4
    parts = [_text(left, 12, figure.form(low)), _text(start + steps * wide + 4, 12, figure.form(high))]
    for step in range(steps):
        value = low + (high - low) * step / (steps - 1)
        parts.append(
            f'<rect x="{start + step * wide:.1f}" y="3" width="{wide + 0.3:g}" height="10" fill="{_colour(figure, value)}"/>'
        )
    return "".join(parts)


def _colour(figure: Heatmap, value: float) -> str:
    low, high = figure.limits
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    ramp = SIGNED if figure.signed else RAMP
    place = share * (len(ramp) - 1)
    below = min(int(place), len(ramp) - 2)
    one, other = (_channels(ramp[below + k]) for k in (0, 1))
    return "#" + "".join(f"{round(a + (b - a) * (place - below)):02x}" for a, b in zip(one, other, strict=True))


def _channels(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


def _lightness(colour: str) -> float:
    red, green, blue = _channels(colour)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def _bars(figure: Bars) -> tuple[str, float]:
    legend, y = _legend(
        [(name, style) for style, name in enumerate(figure.series)] if len(figure.series) > 1 else [], bars=True
    )
    left = min(max((len(group) for group in figure.groups), default=0), 24) * CHARACTER + 10
    known = [value for row in figure.values for value in row if value is not None and math.isfinite(value)]
    longest = max((len(figure.form(value)) for value in known), default=0)
    room, most = WIDTH - left - longest * CHARACTER - 10, max(known, default=0.0) or 1.0
    thick = 15 if len(figure.series) == 1 else 11
    parts = [legend]
    y += 4
    for group, values in zip(figure.groups, figure.values, strict=True):
        middle = y + thick * len(values) / 2 + 4
        parts.append(f'<text x="{left - 6:.1f}" y="{middle:.1f}" text-anchor="end">{escape(short(group, 24))}</text>')
        for style, value in enumerate(values):
            if value is not None and math.isfinite(value):
                tip = escape(f"{group}, {figure.series[style]}: {figure.form(value)}")
                long = max(room * value / most, 0.8)
                parts.append(
                    f'<rect x="{left:.1f}" y="{y:g}" width="{long:.1f}" height="{thick - 2}" '
                    f"{_fill(style)}><title>{tip}</title></rect>"
                    + _text(
                        left + long + 4,
                        y + thick / 2 + 3,
                        figure.form(value),
                        kind=' class="small"' if thick < 15 else "",
                    )
                )
            y += thick
        y += 6
    return "".join(parts), y + 2


def _legend(entries: Sequence[tuple[str, int]], bars: bool = False) -> tuple[str, float]:
    """The names of lines or bars, as many on a line as fit; and where it ends."""
    parts, x, y = [], 8.0, 12.0
    for label, style in entries:
        label = short(label, 50)
        wide = 34 + len(label) * CHARACTER
        if x > 8 and x + wide > WIDTH:
            x, y = 8.0, y + 16
        colour, dash = _stroke(style)
        line = f'<path d="M{x:.1f} {y - 4:g}h22" stroke="{colour}" stroke-width="3"{dash}/>'
        block = f'<rect x="{x:.1f}" y="{y - 9:g}" width="22" height="9" {_fill(style)}/>'
        parts.append((block if bars else line) + _text(x + 27, y, label))
        x += wide + 8
    return "".join(parts), y + 6 if entries else 0.0


def _stroke(style: int) -> tuple[str, str]:
    dash = DASHES[style % len(DASHES)]
    return COLOURS[style % len(COLOURS)], f' stroke-dasharray="{dash}"' if dash else ""


def _fill(style: int) -> str:
    """That of a bar: neighbours differ in strength, too, which is what is left of a colour in grey."""
    return f'fill="{COLOURS[style % len(COLOURS)]}" fill-opacity="{(1, 0.5, 0.75)[style % 3]}"'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{where}{kind}>{escape(text)}</text>'
