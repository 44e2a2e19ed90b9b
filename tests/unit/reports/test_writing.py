"""What `report` writes: the same bytes every time, with its inputs, and only over what is its own."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import corpus
import pytest
import torch
from corpus import tree, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, OutputExistsError


def test_the_same_adapters_give_the_same_bytes(tmp_path: Path) -> None:
    adapters = [
        ao.open_adapter(write_adapter(tmp_path / "inputs" / name, seed=seed)) for seed, name in enumerate("abc")
    ]
    for name, workers in (("one", 1), ("two", 3)):
        (tmp_path / name).mkdir()
        ao.report(adapters, tmp_path / name / "r.html", figures=tmp_path / name / "figures", how=Execution(workers))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_diagnosis_comes_first_and_numbers_say_what_it_is_of(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    weights = {f"{module}.weight": torch.ones(12, 8) for module in corpus.MODULES}
    save_file(weights, tmp_path / "m.safetensors")
    done = ao.report(
        [ao.open_adapter(tmp_path / "a")], tmp_path / "r.html", base=ao.open_checkpoint(tmp_path / "m.safetensors")
    )
    text = done.path.read_text()
    assert text.index("<h2>In short") < text.index("<h2>Diagnosis") < text.index("<h2>Summary") < text.index("<svg")
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
    for out, figures in (
        ("r.txt", None),
        ("r.json", None),
        ("a/r.html", None),
        ("r.html", "r.html"),
        ("r.html", "a/figures"),
    ):
        with pytest.raises(OptionError):
            ao.report([adapter], tmp_path / out, figures=figures and tmp_path / figures)
    assert tree(tmp_path) == before


def test_every_figure_is_a_file_that_the_manifest_lists(tmp_path: Path) -> None:
    adapters = [ao.open_adapter(write_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")]
    done = ao.report(adapters, tmp_path / "r.html", figures=tmp_path / "figures", command=["adapterops", "report"])
    manifest = json.loads((tmp_path / "figures/adapterops.json").read_text())
    assert sorted(manifest["outputs"]) == sorted(done.drawn)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"adapterops.json", *done.drawn}
    assert manifest["command"] == ["adapterops", "report"]
    assert manifest["versions"].keys() == {"adapterops", "numpy"}
    assert all(ET.parse(tmp_path / "figures" / name).getroot().tag.endswith("svg") for name in done.drawn)
    assert done.path.read_text(encoding="utf-8").count("<svg") == len(done.drawn)
