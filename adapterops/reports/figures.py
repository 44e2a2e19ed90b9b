"""Figures as data: what `svg` draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Form: TypeAlias = Callable[[float], str]
"""How a number is written."""


@dataclass(frozen=True)
class Series:
    """A line through points, in the colour and dashes of `style`;
    a `faint` one is one of many, and not in the legend.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Lines:
    """`marks` are vertical lines with a word each; `ticks` are places on the x axis, by default round numbers;
    the y axis holds `reach`.
    """

    name: str
    title: str
    caption: str
    x: str
    y: str
    series: Sequence[Series]
    marks: Sequence[tuple[float, str]] = ()
    ticks: Sequence[float] = ()
    reach: Sequence[float] = ()
    log_x: bool = False
    log_y: bool = False
    x_form: Form = lambda value: f"{value:g}"
    y_form: Form = lambda value: f"{value:g}"


@dataclass(frozen=True)
class Heatmap:
    """A number for each row and column, or none.
    `limits` are where the colours end; a `signed` one has 0 in the middle.
    """

    name: str
    title: str
    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    limits: tuple[float, float]
    signed: bool = False
    form: Form = lambda value: f"{value:.2g}"


@dataclass(frozen=True)
class Bars:
    """Lengths from 0, in groups of one bar for each of `series`; `stacked`, of one bar with a part for each, and
    their sum behind it.
    """

    name: str
    title: str
    caption: str
    groups: Sequence[str]
    series: Sequence[str]
    values: Sequence[Sequence[float | None]]
    form: Form = lambda value: f"{value:.2g}"
    stacked: bool = False


Figure: TypeAlias = Lines | Heatmap | Bars


def percent(value: float) -> str:
    """A fraction in few characters; only all of it is 100%.

    >>> percent(0.5), percent(0.0123), percent(0.00012), percent(12.5), percent(0), percent(0.9967), percent(1 - 1e-9), percent(math.inf)
    ('50%', '1.2%', '0.012%', '1250%', '0%', '99.6%', '99.9%', '∞')
    """
    hundred = 100 * value
    if not math.isfinite(hundred):
        return "∞" if hundred > 0 else "-"
    if 99.5 <= hundred < 100 - 1e-10:
        return f"{math.floor(10 * hundred) / 10:.1f}%"
    return f"{hundred:.0f}%" if abs(hundred) >= 9.95 or not hundred else f"{hundred:.2g}%"


def brief(value: float) -> str:
    """Three digits, and no exponent for what people write without.

    >>> brief(0.01234), brief(187.7), brief(1e-7), brief(1234567)
    ('0.0123', '188', '1e-07', '1.23e+06')
    """
    return f"{value:.3g}"


def three(value: float) -> str:
    """Three digits, zeros at the end, too: for numbers in a column.

    >>> three(2), three(0.89), three(187.7), three(0), three(1234567)
    ('2.00', '0.890', '188', '0', '1.23e+06')
    """
    return f"{value:#.3g}".rstrip(".") if value else "0"


def signed(value: float) -> str:
    """
    >>> signed(0.123), signed(-1.0), signed(0.001)
    ('+0.12', '-1.00', '0.00')
    """
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def size(value: float) -> str:
    """Bytes.

    >>> size(84_000_000), size(300), size(1.62e10), size(999_900)
    ('84 MB', '300 B', '16.2 GB', '1 MB')
    """
    for factor, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g} {letter}B"
    return f"{value:.0f} B"


def round_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers in [low, high].

    >>> round_ticks(0, 1), round_ticks(0, 31)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(factor for factor in (5, 2, 1) if (high - low) / (factor * step) >= 3 or factor == 1)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def whole_ticks(low: int, high: int) -> list[float]:
    """Both ends and, in equal steps, at most eight whole numbers between them; none within half a step of an end.

    >>> whole_ticks(1, 8), whole_ticks(0, 31)
    ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 31.0])
    """
    step = next(size * 10**power for power in range(19) for size in (1, 2, 5) if high - low <= 8 * size * 10**power)
    first = step * (low // step + 1)
    between = [tick for tick in range(first, high, step) if 2 * min(tick - low, high - tick) >= step]
    return [float(tick) for tick in dict.fromkeys([low, *between, high])]


def power_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high], at most six; with few of them also their doubles and halves, or the ends.

    >>> power_ticks(0.02, 30), power_ticks(1.1, 12), power_ticks(2.2, 4)
    ([0.1, 1.0, 10.0], [2.0, 5.0, 10.0], [2.2, 4])
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, -(-(last - first + 1) // 6))
    powers = [10.0**k for k in range(first, last + 1, step)]
    finer = [
        factor * 10.0**k for k in range(first - 1, last + 1) for factor in (1, 2, 5) if low <= factor * 10.0**k <= high
    ]
    return powers if len(powers) > 2 or len(finer) > 7 else finer if len(finer) > 1 else [low, high]
