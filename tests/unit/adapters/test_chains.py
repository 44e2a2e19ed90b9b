"""Adapters trained one after the other: which sums are adapters of the first base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import MODULES, config, write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.adapters.chains import fused_into
from adapterops.cli.main import run
from adapterops.errors import IncompatibleError
from adapterops.provenance.manifest import seal


@pytest.fixture(autouse=True)
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sft` was trained on `base`, `dpo` on `tuned` = base + sft, `grpo` on `aligned` = tuned + dpo."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, base) in enumerate({"sft": "base", "dpo": "tuned", "grpo": "aligned", "other": "base"}.items()):
        write_adapter(Path(name), fields=config(base_model_name_or_path=base), seed=seed)
    Path("base").mkdir()
    save_file({f"{module}.weight": torch.randn(12, 8) for module in MODULES}, "base/model.safetensors")
    assert run(["fuse", "base", "sft", "-o", "tuned"]) == 0
    assert run(["fuse", "tuned", "dpo", "-o", "aligned"]) == 0


def opened(*names: str) -> list[ao.Adapter]:
    return [ao.open_adapter(name) for name in names]


@pytest.mark.parametrize("names", [("sft", "dpo"), ("dpo", "sft"), ("sft", "dpo", "grpo"), ("other", "dpo", "sft")])
def test_a_whole_chain_is_an_adapter_of_the_first_base(names: tuple[str, ...]) -> None:
    adapters = opened(*names)
    assert ao.merge(adapters, scale="sum").config.base_model == "base"
    assert ao.evaluate(" + ".join(names), **dict(zip(names, adapters, strict=True))).config.base_model == "base"


def test_its_sum_makes_the_model_that_the_last_was_trained_for() -> None:
    sft, dpo = opened("sft", "dpo")
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint("base"), ao.evaluate("sft + dpo", sft=sft, dpo=dpo)), "at-once")
    at_once, one_by_one = (load_file(f"{name}/model.safetensors") for name in ("at-once", "aligned"))
    for name, tensor in at_once.items():
        np.testing.assert_allclose(tensor, one_by_one[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "expression", ["0.5*sft + dpo", "dpo + other", "sft + grpo", "ties(sft, dpo)", "sft + sft + dpo"]
)
def test_anything_else_is_of_two_bases(expression: str) -> None:
    names = [name for name in ("sft", "dpo", "grpo", "other") if name in expression]
    with pytest.raises(IncompatibleError, match="different base models"):
        ao.evaluate(expression, **dict(zip(names, opened(*names), strict=True)))


def test_weights_have_to_be_those_of_the_model() -> None:
    assert run(["fuse", "base", "sft", "-w", "0.5", "-o", "half"]) == 0
    write_adapter(Path("next"), fields=config(base_model_name_or_path="half"), seed=9)
    sft, after = opened("sft", "next")
    assert (0.5 * sft + after).config.base_model == "base"
    with pytest.raises(IncompatibleError):
        sft + after


@pytest.mark.parametrize("model", [None, "owner/name", "base", "sft"])
def test_a_model_of_unknown_making_was_made_of_nothing_known(model: str | None) -> None:
    assert fused_into(model) is None


def test_a_model_that_is_its_own_base_ends() -> None:
    assert run(["fuse", "base", "sft", "-o", "loop"]) == 0
    request = Path("loop/adapterops.json").read_text()
    assert '"../base"' in request
    Path("base").rename("gone")
    Path("base").symlink_to("loop")
    assert set((fused_into("loop") or {}).values()) == {1.0}


@pytest.mark.parametrize("adapter", [{"operation": "merge"}, {"operation": "odd", "inputs": [{"input": 1}]}, None])
def test_a_manifest_of_a_stranger_is_a_base_of_unknown_making(adapter: object) -> None:
    content = json.loads(Path("tuned/adapterops.json").read_text())
    content["operation"]["inputs"] = [] if adapter is None else [{"input": 0}, adapter]
    Path("tuned/adapterops.json").write_text(json.dumps(content | {"seal": seal(content)}))
    assert fused_into("tuned") is None
