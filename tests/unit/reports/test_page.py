"""The page: harmless whatever the names in it, and complete."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from corpus import config, factors, write_adapter

import adapterops as ao
from adapterops.operations.comparison import compare
from adapterops.reports.page import MARK, page

HOSTILE = "<\\script><img src=x onerror=alert(1)>&\"'"
MODULES = (f"layers.0.{HOSTILE}.q_proj", "layers.1.v_proj", "layers.2.v_proj")
VOID = {"meta", "img", "br"}


class Tags(HTMLParser):
    """Every tag and attribute of a page, and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def adapters(tmp_path: Path) -> list[ao.Adapter]:
    fields = config(2, base_model_name_or_path=HOSTILE)
    write_adapter(tmp_path / HOSTILE.replace("/", "-"), fields=fields, modules=MODULES)
    write_adapter(tmp_path / "b\udcff", fields=fields, modules=MODULES, seed=1)
    write_adapter(
        tmp_path / "new", {name: tensor * ("lora_A" in name) for name, tensor in factors(MODULES).items()}, fields
    )
    return [ao.open_adapter(path) for path in sorted(tmp_path.iterdir())]


def test_names_of_strangers_do_nothing(tmp_path: Path, adapters: list[ao.Adapter]) -> None:
    done = ao.report(adapters, tmp_path / "out.html", figures=tmp_path / "figures")
    text = done.path.read_text(encoding="utf-8")
    found = Tags(text)
    assert not found.open
    assert not found.seen & {"script", "img", "iframe", "object", "link", "a", "image", "use", "foreignobject"}
    assert not any(name.startswith("on") or name in ("href", "src", "xlink:href") for name in found.attributes)
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert not re.search(r"\bnan\b|\binf\b|url\(|@import", text.partition("<body>")[2].lower())
    assert "viewport" in text
    assert "@media print" in text
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(drawing)
    for name in done.drawn:
        if name.endswith(".svg"):
            ET.parse(tmp_path / "figures" / name)
    numbers = json.loads(done.numbers.read_text(encoding="utf-8"))
    assert set(numbers["adapters"][0]["modules"]) == set(MODULES)


def test_what_is_on_it(adapters: list[ao.Adapter]) -> None:
    one = page(compare(adapters[:1]), [], ["from here"], None)
    assert MARK in one
    assert "no rule found anything to say" in one
    assert "<h2>Overview</h2>" in one
    assert "<h3>Pairs</h3>" not in one
    assert "<li>from here</li>" in one
    assert "relative to the weights" not in one
    several = page(compare(adapters), [], [], "a & b")
    assert "<h2>Comparison</h2>" in several
    assert "<h3>Pairs</h3>" in several
    assert "3 LoRA adapters on &lt;" in several
    assert "relative to the weights in a &amp; b." in several
    assert several.count("<figure>") == several.count("<svg")
    assert several.count("<details>") == 3
