"""`normalize`, and the same in a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpus import PREFIX, config, factors, write_adapter

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {**factors(["layers.0.q_proj"], rank=3), **factors(["layers.0.v_proj"], rank=2)}
    write_adapter(tmp_path / "a", tensors, config(3, rank_pattern={"v_proj": 2}, lora_alpha=4.5))
    monkeypatch.chdir(tmp_path)


def test_a_recipe_makes_the_same(capsys: Capture) -> None:
    assert run(["normalize", "a"]) == 0
    manifest = json.loads(Path("a-normalized/adapterops.json").read_text())
    assert manifest["request"]["output"]["normalize"] is True
    assert manifest["operation"]["operation"] == "normalize"
    Path("recipe.yaml").write_text("adapterops: 1\ninputs: {a: a}\nresult: a\noutput: {path: out, normalize: true}\n")
    assert run(["run", "recipe.yaml"]) == 0
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert Path("out", file).read_bytes() == Path("a-normalized", file).read_bytes()
    assert run(["run", "out/recipe.yaml", "-o", "again"]) == 0
    assert Path("out/adapter_model.safetensors").read_bytes() == Path("again/adapter_model.safetensors").read_bytes()


def test_it_is_planned(capsys: Capture) -> None:
    assert run(["normalize", "a", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["rank_at_most"] for each in found["modules"].values()} == {3}
    assert not Path("a-normalized").exists()


@pytest.mark.parametrize("output", ["{path: out, normalize: true, format: mlx}", "{path: out, normalize: 1}"])
def test_what_contradicts_itself_is_refused(output: str) -> None:
    Path("recipe.yaml").write_text(f"adapterops: 1\ninputs: {{a: a}}\nresult: a\noutput: {output}\n")
    assert run(["run", "recipe.yaml"]) == 2


def test_of_a_model_there_is_nothing_to_normalize() -> None:
    Path("recipe.yaml").write_text(
        "adapterops: 1\ninputs: {a: a}\nresult: a\nbase: base\noutput: {path: out, normalize: true}\n"
    )
    assert run(["run", "recipe.yaml"]) == 2


def test_what_lora_cannot_hold_is_refused(capsys: Capture) -> None:
    tensors = {**factors(), f"{PREFIX}norm.weight": torch.ones(8)}
    write_adapter(Path("full"), tensors, config(2, modules_to_save=["norm"]))
    assert run(["normalize", "full"]) == 4
    shown = capsys.readouterr().err
    assert "norm.weight" in shown
    assert "fuse" in shown
    assert not Path("full-normalized").exists()
