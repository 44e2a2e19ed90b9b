"""The report in a real browser, where one is installed: nothing is refused or cut off, and values are within reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PROGRAM, Browser, browser
from corpus import factors, write_adapter

from adapterops.cli.main import run

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")

MODULES = [
    f"encoder.layer.{layer}.{path}"
    for layer in range(4)
    for path in ("attention.output.dense", "intermediate.dense", "output.dense", "z" * 70)
]
TIP = "document.querySelector('.tip').style.visibility === 'visible' && document.querySelector('.tip').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    names = [
        str(write_adapter(place / name, factors(MODULES, seed=seed), modules=MODULES))
        for seed, name in enumerate("abc")
    ]
    assert run(["report", *names, "-o", str(place / "report.html")]) == 0
    return place / "report.html"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_is_refused_and_nothing_is_wider_than_the_window(
    tab: Browser, page: Path, width: int, dark: bool
) -> None:
    tab.open(page, width, dark)
    assert tab.messages == []
    assert tab.value("document.documentElement.scrollWidth") <= width
    background = tab.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(", "))) < 300) == dark
    cut = "[...document.querySelectorAll('svg.ao text')].filter(t => {const b = t.getBoundingClientRect(),"
    cut += " s = t.closest('svg').getBoundingClientRect(); return b.right > s.right + 2 || b.left < s.left - 2}).map(t => t.textContent)"
    assert tab.value(cut) == []


def test_an_injected_script_does_not_run(tab: Browser, page: Path, tmp_path: Path) -> None:
    """The policy holds: what is not in the page as we wrote it is refused."""
    text = page.read_text(encoding="utf-8")
    other = tmp_path / "other.html"
    other.write_text(text.replace("</main>", "<script>document.title = 'taken'</script></main>"), encoding="utf-8")
    tab.open(other, 1280)
    assert tab.value("document.title") != "taken"
    assert any("Content Security Policy" in message for message in tab.messages)


def test_a_table_is_sorted_by_a_click_on_its_header(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    tab.value(
        "window.t = [...document.querySelectorAll('table')].find(t => t.tHead.textContent.includes('mostly in'));"
        "window.c = [...t.tHead.rows[0].cells].findIndex(h => h.textContent === 'norm')"
    )
    column = "[...t.tBodies[0].rows].map(r => r.cells[c].textContent)"
    numbers = [float(text) for text in tab.value(column)]
    for order, reverse in (("ascending", False), ("descending", True)):
        tab.value("t.tHead.rows[0].cells[c].querySelector('button').click()")
        assert [float(text) for text in tab.value(column)] == sorted(numbers, reverse=reverse)
        assert tab.value("t.tHead.rows[0].cells[c].getAttribute('aria-sort')") == order
    units = "value({textContent: '1.33 MB'}) > value({textContent: '999 kB'}) && value({textContent: '-'}) < -1e9"
    assert tab.value(units)


def test_the_mouse_reads_values(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    place = tab.value(
        "(() => {const f = document.querySelector('svg.ao'); f.scrollIntoView({block: 'center'});"
        " const b = f.querySelectorAll('rect[y]')[30].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})()"
    )
    tab.settle()
    tab.point(*place)
    tab.settle()
    shown = tab.value(TIP)
    assert shown
    assert ": " in shown
    tab.point(1, 1)
    tab.settle()
    assert tab.value(TIP) is False


def test_the_keyboard_reads_values(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    tab.value("document.querySelector('svg.ao').focus()")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        tab.press(key)
        tab.settle()
        seen.append(tab.value(TIP))
    first, right, below, left = seen
    assert first.startswith("1 and 2, attention.output.dense: ")
    assert right.startswith("1 and 2, intermediate.dense: ")
    assert below.startswith("1 and 3, intermediate.dense: ")
    assert left.startswith("1 and 3, attention.output.dense: ")
    tab.press("Escape")
    assert tab.value(TIP) is False


def test_all_values_are_there_without_the_script(tab: Browser, page: Path) -> None:
    tab.open(page, 1280, script=False)
    assert tab.value("document.querySelectorAll('thead button').length") == 0
    assert tab.value("document.querySelectorAll('svg.ao rect > title').length") > 20
    assert tab.value("document.querySelectorAll('tbody tr').length") > 3 * len(MODULES)


def test_print_has_every_figure_whole(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    tab.ask("Emulation.setEmulatedMedia", media="print")
    tab.ask("Emulation.setDeviceMetricsOverride", width=718, height=1000, deviceScaleFactor=1, mobile=False)
    assert tab.value("document.documentElement.scrollWidth") <= 718
    clipped = (
        "[...document.querySelectorAll('.scroll')].filter(s => s.offsetParent && s.scrollHeight > s.clientHeight + 1)"
    )
    assert tab.value(f"{clipped}.length") == 0
    tab.ask("Emulation.setEmulatedMedia", media="")
