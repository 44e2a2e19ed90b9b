"""Adapters out of a collection, in the real PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft_models import base, deltas, load, make

import adapterops as ao
from adapterops.cli.main import run

NAMES = ("plain", "rslora", "all", "regex", "layer")
TOKENS = torch.arange(24).reshape(2, 12) % 128


def outputs(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return load(folder)(TOKENS).logits


@pytest.fixture(scope="module")
def place(trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collections") / "coll"
    ao.compress({name: ao.open_adapter(trained(name)) for name in NAMES}, out, error=1e-5)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_a_model_does_with_it_what_it_did_with_the_adapter(
    name: str, place: Path, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    ao.save_adapter(ao.open_adapter(f"{place}#{name}"), tmp_path / "out")
    with torch.no_grad():
        plain = base()(TOKENS).logits
    before, after = outputs(trained(name)), outputs(tmp_path / "out")
    assert (before - plain).norm() > 1e-3
    assert (before - after).norm() <= 1e-4 * (before - plain).norm() + 3e-7 * before.norm()
    found, expected = deltas(load(tmp_path / "out")), deltas(load(trained(name)))
    assert found.keys() == expected.keys()
    for module, exact in expected.items():
        assert (found[module] - exact).norm() <= 1.01e-5 * exact.norm() + 1e-6


def test_the_error_is_that_of_what_peft_adds(tmp_path: Path) -> None:
    folders = {
        f"seed{seed}": make(tmp_path / f"{seed}", seed, r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"])
        for seed in range(4)
    }
    done = ao.compress({name: ao.open_adapter(each) for name, each in folders.items()}, tmp_path / "coll", error=0.05)
    for name, folder in folders.items():
        ao.save_adapter(ao.open_adapter(f"{tmp_path / 'coll'}#{name}"), tmp_path / f"out-{name}")
        found, exact = deltas(load(tmp_path / f"out-{name}")), deltas(load(folder))
        lost = sum((found[module] - exact[module]).double().square().sum() for module in exact)
        whole = sum(each.double().square().sum() for each in exact.values())
        assert float((lost / whole).sqrt()) == pytest.approx(done.errors[name], rel=1e-2)
        assert done.errors[name] <= 0.05


def test_a_model_with_one_of_it_is_verified_by_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base().save_pretrained("base")
    make(tmp_path / "one", 1, r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"])
    ao.compress({"one": ao.open_adapter("one")}, "coll")
    assert run(["fuse", "base", "coll#one", "-o", "model"]) == 0
    assert run(["verify", "model"]) == 0
    assert run(["verify", "model", "--base", "base", "--adapter", "coll#one"]) == 0
    assert run(["verify", "model", "--base", "base", "--adapter", "one"]) == 8
