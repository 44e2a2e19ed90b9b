"""Figures: they are XML, hold no NaN, nothing from elsewhere, and no name breaks out of them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterops.reports.figures import Bars, Figure, Heatmap, Lines, Series, brief, percent
from adapterops.reports.ink import WIDTH
from adapterops.reports.svg import svg

CAP = 6.5
"""How high a digit of small text is, of 9 pixels."""

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\x00\ud800\x1b[31m]]>"
NAMES = st.one_of(st.text(max_size=12), st.just(HOSTILE), st.text("x", min_size=60, max_size=80))
NUMBERS = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e-300, 1e300]),
    st.integers(-5, 5).map(float),
)


@st.composite
def lines(draw: st.DrawFn) -> Lines:
    points = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5)
    series = draw(st.lists(st.builds(Series, NAMES, points, st.integers(0, 20), st.booleans()), max_size=3))
    return Lines(
        "n",
        draw(NAMES),
        draw(NAMES),
        draw(NAMES),
        draw(NAMES),
        series,
        log_x=draw(st.booleans()),
        log_y=draw(st.booleans()),
    )


@st.composite
def heatmaps(draw: st.DrawFn) -> Heatmap:
    high, wide = draw(st.integers(0, 70)), draw(st.integers(0, 9))
    value = draw(st.one_of(st.none(), NUMBERS))
    values = [[value if (row + column) % 2 else 0.5 for column in range(wide)] for row in range(high)]
    names = [draw(NAMES)] * max(high, wide)
    return Heatmap(
        "n",
        draw(NAMES),
        draw(NAMES),
        names[:high],
        names[:wide],
        values,
        (0.0, draw(st.sampled_from([0.0, 1.0]))),
        draw(st.booleans()),
    )


@st.composite
def bars(draw: st.DrawFn) -> Bars:
    high, wide = draw(st.integers(0, 4)), draw(st.integers(1, 3))
    lengths = st.one_of(st.none(), NUMBERS.map(abs))
    values = [[draw(lengths) for _ in range(wide)] for _ in range(high)]
    return Bars("n", draw(NAMES), draw(NAMES), [draw(NAMES)] * high, [draw(NAMES)] * wide, values, percent)


FIGURES = st.one_of(lines(), heatmaps(), bars())
TAGS = {"svg", "title", "style", "text", "path", "rect", "circle", "g"}
GEOMETRY = ("x", "y", "cx", "cy", "r", "d", "width", "height", "transform", "viewBox")


@given(FIGURES, st.booleans())
def test_every_figure_is_harmless_xml(figure: Figure, standalone: bool) -> None:
    text = svg(figure, standalone)
    text.encode()
    root = ET.fromstring(text)
    for element in root.iter():
        assert element.tag.rpartition("}")[2] in TAGS
        assert not any(name.startswith("on") or name.endswith("href") for name in element.attrib)
        for name in GEOMETRY:
            numbers = element.attrib.get(name, "")
            assert "nan" not in numbers
            assert "inf" not in numbers
    assert text == svg(figure, standalone)


def test_what_is_drawn() -> None:
    """The points of a line, in their order, between the axes."""
    figure = Lines(
        "n",
        "t",
        "c",
        "x",
        "y",
        [Series("s", [(1, 1), (2, 10), (4, 100)])],
        [(2, "here")],
        (1, 2, 4),
        log_x=True,
        log_y=True,
    )
    root = ET.fromstring(svg(figure))
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter() if c.tag.endswith("circle")]
    (x0, y0), (x1, y1), (x2, y2) = circles
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    told = [t.text for t in root.iter() if t.tag.endswith("title")]
    assert "s: x 2, 10" in told
    assert "here" in [t.text for t in root.iter() if t.tag.endswith("text")]


def test_cells_tell_their_values_and_their_colours_are_ordered_in_grey() -> None:
    values = [[k / 10 for k in range(11)]]
    root = ET.fromstring(
        svg(Heatmap("n", "t", "c", ["0"], [str(k) for k in range(11)], values, (0.0, 1.0), form=percent))
    )
    cells = [(c[0].text, c.attrib["fill"]) for c in root.iter() if c.tag.endswith("rect") and len(c)]
    assert [text for text, _ in cells] == [f"0, {k}: {percent(k / 10)}" for k in range(11)]
    grey = [sum(w * int(c[k : k + 2], 16) for w, k in ((0.299, 1), (0.587, 3), (0.114, 5))) for _, c in cells]
    assert grey == sorted(grey, reverse=True)


def test_a_page_has_the_style_once_and_a_file_has_its_own() -> None:
    figure = Bars("n", "t", "c", ["g"], ["s"], [[1.0]], brief)
    assert "<style>" not in svg(figure)
    assert "<style>" in svg(figure, standalone=True)
    assert "prefers-color-scheme:dark" in svg(figure, standalone=True)


def test_words_of_marks_do_not_touch() -> None:
    """Neighbouring marks have words in rows of their own, the last the lowest."""
    figure = Lines("n", "t", "c", "x", "y", [Series("s", [(1, 1), (32, 2)])], [(3, "80%: rank 3"), (4, "99%: rank 4")])
    root = ET.fromstring(svg(figure))
    above = {
        t.text: float(t.attrib["y"]) for t in root.iter() if t.tag.endswith("text") and t.text and "rank" in t.text
    }
    assert above["80%: rank 3"] < above["99%: rank 4"] - 10


def test_names_of_columns_stay_inside() -> None:
    names = ["attention.output.dense", "intermediate.dense", "output.dense"] * 2
    root = ET.fromstring(svg(Heatmap("n", "t", "c", ["0"], names, [[0.5] * 6], (0.0, 1.0))))
    for text in root.iter():
        if text.attrib.get("transform", "").endswith("rotate(-45)"):
            x = float(text.attrib["transform"].split("(")[1].split()[0])
            assert x + 0.71 * 9 * 0.55 * len(text.text or "") <= WIDTH


@pytest.mark.parametrize("count", [1, 12, 24])
def test_numbers_are_in_the_middle_of_their_cells(count: int) -> None:
    figure = Heatmap("n", "t", "c", [str(k) for k in range(count)], ["q", "v"], [[0.5, 0.25]] * count, (0.0, 1.0))
    parts = list(ET.fromstring(svg(figure)).iter())
    cells = [k for k, part in enumerate(parts) if part.tag.endswith("rect") and len(part)]
    assert len(cells) == 2 * count
    for k in cells:
        box, number = parts[k].attrib, parts[k + 2]
        assert number.text in ("0.5", "0.25")
        above = float(number.attrib["y"]) - CAP - float(box["y"])
        below = float(box["y"]) + float(box["height"]) - float(number.attrib["y"])
        assert above == pytest.approx(below, abs=0.7)


def test_many_rows_stay_low_and_every_cell_has_its_value() -> None:
    values = [[row / 80] for row in range(80)]
    rows = [str(row) for row in range(80)]
    root = ET.fromstring(svg(Heatmap("n", "t", "c", rows, ["k"], values, (0.0, 1.0), form=percent)))
    assert float(root.attrib["viewBox"].split()[3]) < 420
    assert len([cell for cell in root.iter() if cell.tag.endswith("rect") and len(cell)]) == 80


def test_parts_of_a_stacked_bar_follow_each_other() -> None:
    figure = Bars("n", "t", "c", ["g"], ["a", "b", "c"], [[1.0, None, 3.0]], brief, stacked=True)
    root = ET.fromstring(svg(figure))
    one, other = [bar for bar in root.iter() if bar.tag.endswith("rect") and len(bar)]
    assert float(other.attrib["x"]) == pytest.approx(float(one.attrib["x"]) + float(one.attrib["width"]), abs=0.11)
    assert float(other.attrib["width"]) == pytest.approx(3 * float(one.attrib["width"]), abs=0.3)
    assert "4" in [t.text for t in root.iter() if t.tag.endswith("text")]
