"""What README says is true: its commands, its library example, its links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from corpus import MODULES, tree, write_adapter
from safetensors.torch import save_file

from adapterops.cli.main import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_library_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_adapter(tmp_path / "a", seed=1)
    write_adapter(tmp_path / "b", seed=2)
    (tmp_path / "base").mkdir()
    save_file(
        {f"{module}.weight": torch.randn(12, 8).bfloat16() for module in MODULES}, tmp_path / "base/model.safetensors"
    )
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    assert (tmp_path / "out/adapter_model.safetensors").exists()
    assert (tmp_path / "out2/adapterops.json").exists()
    assert (tmp_path / "model/model.safetensors").exists()


def test_demo_runs_what_is_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/demo.py")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"^\$ (adapterops .*)$", README, re.MULTILINE)
    assert commands
    for command in commands:
        assert f"$ {command}\n" in done.stdout
    losses = {
        name: (float(ones), float(threes))
        for name, ones, threes in re.findall(
            r"^(base|ones|threes|sum|ties|small) +([\d.]+) +([\d.]+)$", done.stdout, re.MULTILINE
        )
    }
    assert losses["ones"][0] < 0.1 < losses["base"][0]
    assert losses["threes"][1] < 0.1 < losses["base"][1]
    assert max(losses["sum"]) < min(losses["base"])


def test_calculations_and_the_recipe_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    section = README.partition("## Calculating and recipes")[2].partition("\n## ")[0]
    modules = [f"model.layers.{layer}.{part}" for layer in range(13) for part in ("mlp.up_proj", "self_attn.q_proj")]
    for seed, name in enumerate("ab"):
        write_adapter(tmp_path / "runs" / name, rank=6, seed=seed, modules=modules)
    (recipe,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe)
    commands = re.findall(r"^adapterops (.*)$", section, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert run(shlex.split(command, comments=True)) == 0, capsys.readouterr().err
    assert tree(tmp_path / "again") == tree(tmp_path / "merged")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_has_the_targets_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", README):
        assert f"\n{target}:" in makefile


def test_the_example_of_quantizing_keeps_the_fine_tune_in_every_right_way(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/qlora_to_nf4.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loss = {
        name.strip(): float(value)
        for name, value in re.findall(r"^([a-z0-9+\- ]+?) +(\d+\.\d+)$", done.stdout, re.MULTILINE)
    }
    base, adapted = loss["base-nf4"], loss["base-nf4 + adapter"]
    assert adapted < 0.3 * base
    for right in ("from-16-bit", "by-chance", "in-16-bit"):
        assert loss[right] - adapted < 0.15 * (base - adapted)
    assert loss["nearest"] - adapted > 0.3 * (base - adapted)
