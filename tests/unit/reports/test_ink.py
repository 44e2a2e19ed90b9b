"""What figures are drawn with: harmless text, readable on every colour."""

from __future__ import annotations

import pytest

from adapterops.reports.figures import Heatmap
from adapterops.reports.ink import RAMP, SIGNED, colour, escape, legend, on, short, stroke

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\x00\ud800\x1b[31m]]>"


def brightness(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("signed", [False, True])
def test_text_can_be_read_on_every_cell(signed: bool) -> None:
    figure = Heatmap("n", "t", "c", [], [], [], (0.0, 1.0), signed)
    for step in range(101):
        cell = colour(figure, step / 100)
        light, dark = sorted((brightness(cell), brightness({"black": "#000000", "white": "#ffffff"}[on(cell)])))[::-1]
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_colours_end_at_their_limits() -> None:
    figure = Heatmap("n", "t", "c", [], [], [], (0.0, 1.0))
    assert (colour(figure, -1.0), colour(figure, 2.0)) == (RAMP[0], RAMP[-1])
    middle = Heatmap("n", "t", "c", [], [], [], (-1.0, 1.0), True)
    assert colour(middle, 0.0) == SIGNED[3]


def test_no_two_of_many_lines_look_alike() -> None:
    assert len({stroke(style) for style in range(64)}) == 64


def test_escaping() -> None:
    assert not set(escape(HOSTILE)) & set("<>\"'\x00\x1b\ud800")
    assert len(short("x" * 100, 17)) == 17


def test_a_legend_begins_a_line_where_names_do_not_fit() -> None:
    _, one = legend([("a", 0)])
    _, two = legend([("a" * 40, 0), ("b" * 40, 1)])
    assert one < two
    assert legend([]) == ("", 0.0)
