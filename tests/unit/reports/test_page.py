"""The page and its numbers: whole, harmless, and the same bytes every time."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import corpus
import pytest
import torch
from corpus import config, factors, tree, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import OptionError, OutputExistsError

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
    write_adapter(tmp_path / "new", {name: tensor * ("lora_A" in name) for name, tensor in factors(MODULES).items()}, fields)
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


def test_the_same_adapters_give_the_same_bytes(tmp_path: Path, adapters: list[ao.Adapter]) -> None:
    for name, workers in (("one", 1), ("two", 3)):
        (tmp_path / name).mkdir()
        ao.report(adapters, tmp_path / name / "r.html", figures=tmp_path / name / "figures", workers=workers)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_diagnosis_comes_first_and_numbers_say_what_it_is_of(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    weights = {f"{module}.weight": torch.ones(12, 8) for module in corpus.MODULES}
    save_file(weights, tmp_path / "m.safetensors")
    done = ao.report([ao.open_adapter(tmp_path / "a")], tmp_path / "r.html", base=ao.open_checkpoint(tmp_path / "m.safetensors"))
    text = done.path.read_text()
    assert text.index("<h2>Diagnosis") < text.index("<h2>Summary") < text.index("<svg") < text.index("<h2>Tables")
    numbers = json.loads(done.numbers.read_text())
    assert list(numbers["inputs"][0]["files"]) == ["adapter_model.safetensors", "adapter_config.json"]
    assert numbers["base"] == "m.safetensors"
    assert numbers["adapters"][0]["relative"] > 0
    assert numbers["memory"]["model"] == 3 * 96
    assert numbers["sum"] is None
    assert str(tmp_path) not in text + done.numbers.read_text()


def test_only_reports_are_replaced(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write_adapter(tmp_path / "a"))
    out = tmp_path / "r.html"
    ao.report([adapter], out, figures=tmp_path / "figures")
    before = tree(tmp_path)
    for options in ({}, {"figures": tmp_path / "figures"}):
        with pytest.raises(OutputExistsError):
            ao.report([adapter], out, **options)
    ao.report([adapter], out, figures=tmp_path / "figures", force=True)
    assert tree(tmp_path) == before
    for name in ("r.html", "r.json"):
        mine = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text("my own page")
        with pytest.raises(OutputExistsError, match="not written by adapterops"):
            ao.report([adapter], out, force=True)
        assert (tmp_path / name).read_text() == "my own page"
        (tmp_path / name).write_bytes(mine)


def test_places_that_cannot_be(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    before = tree(tmp_path)
    adapter = ao.open_adapter(folder)
    for out, figures in (("r.txt", None), ("r.json", None), ("a/r.html", None), ("r.html", "r.html"), ("r.html", "a/figures")):
        with pytest.raises(OptionError):
            ao.report([adapter], tmp_path / out, figures=figures and tmp_path / figures)
    assert tree(tmp_path) == before
