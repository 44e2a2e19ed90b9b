"""What all figures are drawn with: colours, text, legends."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from adapterops.regex import Regex
from adapterops.reports.figures import Heatmap

WIDTH = 360
"""Of every figure, in the pixels of a phone: text has its own size there."""

CHARACTER = 5.9
"""About the width of a character in the 11 pixels of labels; in smaller ones in proportion."""

COLOURS = ("#2f74c9", "#d9661f", "#2c9c6a", "#b35aa5", "#8a7a1f", "#5b6bd6", "#c2484f", "#4b9aa8")
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "5 2 1 2", "3 6")
RAMP = ("#edf3fb", "#cfe0f5", "#a9c8ec", "#7daae0", "#528bd1", "#326dbb", "#20529a", "#153a74", "#0b254f")
"""One colour, the lightest first: its lightness falls evenly, so that it can be printed in grey."""

SIGNED = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
STYLE = """svg.ao{color:#1b2027;background:#fff;font-size:11px}
svg.ao{font-family:system-ui,-apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif}
svg.ao text{fill:currentColor}
svg.ao text.black{fill:#000}
svg.ao text.white{fill:#fff}
svg.ao .grid{stroke:currentColor;stroke-opacity:.13}
svg.ao .axis{stroke:currentColor;stroke-opacity:.55}
svg.ao .faint{fill:none;stroke-width:1;stroke-opacity:.16}
svg.ao .line{fill:none;stroke-width:2.2}
svg.ao .small{font-size:9px}
@media (prefers-color-scheme:dark){svg.ao{color:#e4e7ea;background:#14171b}}
@media print{svg.ao{color:#000;background:#fff}}"""

ILLEGAL = Regex("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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


def wide(text: str, small: bool = False) -> float:
    """About the pixels that a text takes."""
    return CHARACTER * len(text) * (9 / 11 if small else 1)


def written(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    """A text at a place; `kind` are classes."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{where}{classes}>{escape(text)}</text>'


def legend(entries: Sequence[tuple[str, int]], bars: bool = False) -> tuple[str, float]:
    """The names of lines or bars, as many on a line as fit; and where it ends."""
    parts, x, y = [], 8.0, 12.0
    for label, style in entries:
        label = short(label, 50)
        room = 34 + wide(label)
        if x > 8 and x + room > WIDTH:
            x, y = 8.0, y + 16
        colour, dash = stroke(style)
        line = f'<path d="M{x:.1f} {y - 4:g}h22" stroke="{colour}" stroke-width="3"{dash}/>'
        block = f'<rect x="{x:.1f}" y="{y - 9:g}" width="22" height="9" {fill(style)}/>'
        parts.append((block if bars else line) + written(x + 27, y, label))
        x += room + 8
    return "".join(parts), y + 6 if entries else 0.0


def stroke(style: int) -> tuple[str, str]:
    """The colour of a line, and its dashes as an attribute."""
    dash = DASHES[(style + style // len(COLOURS)) % len(DASHES)]
    return COLOURS[style % len(COLOURS)], f' stroke-dasharray="{dash}"' if dash else ""


def fill(style: int) -> str:
    """That of a bar: neighbours differ in strength, too, which is what is left of a colour in grey."""
    return f'fill="{COLOURS[style % len(COLOURS)]}" fill-opacity="{(1, 0.5, 0.75)[style % 3]}"'


def colour(figure: Heatmap, value: float) -> str:
    """That of a cell."""
    low, high = figure.limits
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    ramp = SIGNED if figure.signed else RAMP
    place = share * (len(ramp) - 1)
    below = min(int(place), len(ramp) - 2)
    one, other = (_channels(ramp[below + k]) for k in (0, 1))
    return "#" + "".join(f"{round(a + (b - a) * (place - below)):02x}" for a, b in zip(one, other, strict=True))


def on(colour: str) -> str:
    """The class of the text that can be read better on a colour: its contrast is at least 4.5 (WCAG 2)."""
    red, green, blue = (
        share / 12.92 if (share := channel / 255) <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for channel in _channels(colour)
    )
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "white"


def _channels(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


def drawable(value: float | None) -> bool:
    """Whether a number is there, and has a length and a colour."""
    return value is not None and math.isfinite(value)
