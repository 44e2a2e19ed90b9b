"""`adapterops diagnose`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from merged_models import CONVENTIONS, FAULTS, Merge, base, lora, write
from safetensors.torch import load_file, save_file

from adapterops.cli.main import run

BEFORE, ADAPTER = base(1, torch.bfloat16), lora(1)
MERGE = Merge(BEFORE, [ADAPTER], CONVENTIONS["once"])
Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "base", BEFORE)
    write(tmp_path / "merged", MERGE.made())
    write(tmp_path / "lacking", FAULTS[f"missing-{Q}"].plant(MERGE))
    ADAPTER.save(tmp_path / "mine")
    return tmp_path


def test_a_sound_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", "merged", "--base", "base", "--adapter", "mine"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "merged: this is the base and mine, complete"
    assert any("rounded once" in line for line in rest)


def test_one_module_lacks_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["diagnose", "lacking", "--base", "base", "--adapter", "mine"]
    assert run([*arguments, "--sarif", "found.sarif"]) == 8
    captured = capsys.readouterr()
    assert f"missing  {Q}" in captured.out
    assert "13 of 14 modules" in captured.err
    assert "adapterops fuse base mine -o fused" in captured.err
    (result,) = json.loads(Path("found.sarif").read_text())["runs"][0]["results"]
    assert Q in result["message"]["text"]
    assert run([*arguments, "--json"]) == 8
    details = json.loads(capsys.readouterr().out)["error"]["details"]
    assert details["findings"] == [{"kind": "missing", "place": Q, "what": "is the base's: the update is not in it"}]
    assert details["command"] == ["adapterops", "fuse", "base", "mine", "-o", "fused"]


def test_without_an_adapter(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", "merged", "--base", "base", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["kind"], found["verdict"]) == (1, "diagnosis", "different")
    command = found["command"]
    assert command[:2] == ["adapterops", "extract"]
    assert run([*command[1:], "-o", "extracted"]) == 0
    assert run(["diagnose", "base", "--base", "base", "--sarif", "found.sarif"]) == 8
    assert len(json.loads(Path("found.sarif").read_text())["runs"][0]["results"]) == 1


def test_what_cannot_be_judged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place / "other", {"x.weight": torch.ones(4, 4)})
    assert run(["diagnose", "other", "--base", "base"]) == 9
    assert "no tensor in common" in capsys.readouterr().err


def test_an_adapter_twice(place: Path) -> None:
    assert run(["diagnose", "merged", "--base", "base", "--adapter", "mine", "--adapter", "mine"]) == 2


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("lacking", ["nf4", "mine", "--dtype", "bfloat16"]),
        ("coded", ["nf4", "mine", "--rounding", "stochastic"]),
        ("original", ["base", "mine"]),
    ],
)
def test_the_command_that_is_next_works_on_a_base_in_codes(
    model: str, options: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 16-bit model that lacks a module, one in codes without the update, and one of the original that lacks a module."""
    assert run(["quantize", "base", "--to", "nf4", "-o", "nf4"]) == 0
    assert run(["quantize", "base", "--to", "nf4", "-o", "coded"]) == 0
    assert run(["fuse", "nf4", "mine", "--dtype", "bfloat16", "-o", "whole"]) == 0
    whole, weight = load_file("whole/model.safetensors"), f"{Q}.weight"
    assert run(["dequantize", "nf4", "--dtype", "bfloat16", "-o", "sixteen"]) == 0
    write(place / "original", load_file("lacking/model.safetensors"))
    (place / "lacking/model.safetensors").unlink()
    save_file(whole | {weight: load_file("sixteen/model.safetensors")[weight]}, "lacking/model.safetensors")
    capsys.readouterr()
    assert run(["diagnose", model, "--base", "nf4", "--original", "base", "--adapter", "mine", "--json"]) == 8
    command = json.loads(capsys.readouterr().out)["error"]["details"]["command"]
    assert command == ["adapterops", "fuse", *options, "-o", "fused"]
    assert run([*command[1:], "--accept-loss"]) == 0
    assert run(["diagnose", "fused", "--base", "nf4", "--original", "base", "--adapter", "mine"]) == 0


def test_an_adapter_in_the_folder_of_a_model_that_is_its_base_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "unmerged", BEFORE)
    ADAPTER.save(place / "unmerged/lora_adapter")
    assert run(["diagnose", "unmerged", "--base", "base"]) == 8
    assert "adapterops fuse unmerged unmerged/lora_adapter -o fused" in capsys.readouterr().err
