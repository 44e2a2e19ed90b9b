"""The page: harmless whatever the names in it, and complete."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from corpus import config, factors, write_adapter
from markupsafe import escape

import adapterops as ao
from adapterops.operations.comparing.comparison import compare
from adapterops.reports.page import MARK, page
from adapterops.reports.rows import module_rows
from adapterops.reports.summary import summary

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
    assert not found.seen & {"img", "iframe", "object", "link", "a", "image", "use", "foreignobject", "form"}
    assert not any(name.startswith("on") or name in ("href", "src", "xlink:href") for name in found.attributes)
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    shown = re.sub(r"<script>.*?</script>", "", text.partition("<body>")[2], flags=re.DOTALL)
    assert not re.search(r"\bnan\b|\binf\b|url\(|@import", shown.lower())
    assert "viewport" in text
    assert "@media print" in text
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(drawing)
    for name in done.drawn:
        if name.endswith(".svg"):
            ET.parse(tmp_path / "figures" / name)
    numbers = json.loads(done.numbers.read_text(encoding="utf-8"))
    assert set(numbers["adapters"][0]["modules"]) == set(MODULES)


def test_the_one_script_and_the_one_style_are_ours_and_known_by_their_hashes(
    tmp_path: Path, adapters: list[ao.Adapter]
) -> None:
    text = ao.report(adapters, tmp_path / "out.html").path.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL)
        assert text.lower().count(f"<{tag}") == 1
        assert rules[rule] == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    assert " style=" not in text
    script = (Path(ao.__file__).parent / "reports/templates/page.js").read_text(encoding="utf-8")
    assert f"<script>{script}</script>" in text
    assert not re.search(r"innerHTML|eval|fetch|import|http", script)


def rendered(adapters: list[ao.Adapter], inputs: list[str], base: str | None = None) -> str:
    comparison = compare(adapters)
    return page(comparison, summary(comparison, []), [], inputs, base)


def test_what_is_on_it(adapters: list[ao.Adapter]) -> None:
    one = rendered(adapters[:1], ["from here"])
    assert MARK in one
    assert "no rule found anything to say" in one
    assert "<h2>How they relate</h2>" not in one
    assert "<h3>Pairs</h3>" not in one
    assert "<li>from here</li>" in one
    assert "relative to the weights" not in one
    several = rendered(adapters, [], "a & b")
    assert "<h2>How they relate</h2>" in several
    assert "<h3>Pairs</h3>" in several
    assert "3 LoRA adapters on &lt;" in several
    assert "relative to the weights in a &amp; b." in several
    for text in (one, several):
        assert text.count("<figure>") == text.count("<svg")
    assert several.count("<details>") == 3


def test_every_number_of_a_module_is_on_the_page_without_a_script(adapters: list[ao.Adapter]) -> None:
    comparison = compare(adapters)
    text = re.sub(r"<(script|svg).*?</\1>", "", rendered(adapters, []), flags=re.DOTALL)
    for index in range(len(adapters)):
        for row in module_rows(comparison, index)[1]:
            assert all(f">{escape(cell)}</t" in text for cell in row)
