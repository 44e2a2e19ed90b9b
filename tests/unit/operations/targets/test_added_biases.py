from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.errors import IncompatibleError
from adapterops.operations.targets.added_biases import with_biases


def opened(
    folder: Path, weight: tuple[int, ...], model_type: str, module: str, stored: str = ""
) -> tuple[ao.Adapter, ao.Checkpoint]:
    """An adapter with a bias on a module of 6 outputs and 4 inputs, and a base with that weight alone."""
    base, lora = folder / "base", folder / "lora"
    base.mkdir()
    lora.mkdir()
    save_file({f"{stored or module}.weight": np.ones(weight, "float32")}, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps({"model_type": model_type}))
    own = f"base_model.model.{module}.lora_"
    kernel, one = weight[2:], (1,) * len(weight[2:])
    arrays = {"A.weight": np.ones((2, 4, *kernel)), "B.weight": np.ones((6, 2, *one)), "B.bias": np.arange(6)}
    save_file({own + name: each.astype("float32") for name, each in arrays.items()}, lora / "adapter_model.safetensors")
    fields = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 2,
        "lora_bias": True,
        "target_modules": [module.split(".")[-1]],
    }
    (lora / "adapter_config.json").write_text(json.dumps(fields))
    return ao.open_adapter(lora), ao.open_checkpoint(base)


@pytest.mark.parametrize(
    ("weight", "model_type", "module"),
    [
        ((6, 4), "llama", "model.layers.0.mlp.up_proj"),
        ((4, 6), "gpt2", "transformer.h.0.mlp.c_fc"),
        ((6, 4, 3, 3), "clip", "visual.conv"),
    ],
)
def test_the_bias_is_as_long_as_the_outputs(
    tmp_path: Path, weight: tuple[int, ...], model_type: str, module: str
) -> None:
    adapter, base = opened(tmp_path, weight, model_type, module)
    assert with_biases(adapter, base).layout[f"{module}.bias"].shape == (6,)
    named = ao.named_as(adapter, base)
    np.testing.assert_array_equal(named.updates[f"{module}.bias"].dense(), [np.arange(6)])


def test_it_can_be_compared_next_to_its_base_and_not_fused(tmp_path: Path) -> None:
    module = "model.layers.0.mlp.up_proj"
    adapter, base = opened(tmp_path, (6, 4), "llama", module)
    found = ao.compare([adapter, adapter], base=base)
    assert set(found.weights) == {module, f"{module}.bias"}
    assert (found.weights[module], found.weights[f"{module}.bias"]) == (24**0.5, 0)
    with pytest.raises(IncompatibleError, match="the base has no biases there"):
        ao.fuse(base, adapter)


def test_a_weight_in_another_division_is_named(tmp_path: Path) -> None:
    stored = "model.layers.0.mlp.gate_up_proj"
    adapter, base = opened(tmp_path, (12, 4), "phi3", "model.layers.0.mlp.up_proj", stored)
    with pytest.raises(IncompatibleError, match="the base has their weights in another division"):
        ao.named_as(adapter, base)


def test_without_biases_the_base_is_what_it_is(tmp_path: Path) -> None:
    adapter, base = opened(tmp_path, (6, 4), "llama", "model.layers.0.mlp.up_proj")
    assert (
        with_biases(replace(adapter, layout={"elsewhere": adapter.layout["model.layers.0.mlp.up_proj"]}), base) is base
    )
