"""Normalizing: no entry of any update changes, and every rule for a scale gives 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft_models
import pytest
import torch
from corpus import config, factors, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import OptionError, UnsupportedError
from adapterops.updates.hadamard import Hadamard
from adapterops.updates.lowrank import LowRank


def low(shape: tuple[int, int], rank: int, scale: float = 1.0, seed: int = 0) -> LowRank:
    random = np.random.default_rng(seed)
    B, A = random.standard_normal((shape[0], rank)), random.standard_normal((rank, shape[1]))
    return LowRank(B.astype(np.float32), A.astype(np.float32), scale)


def test_no_entry_changes_and_all_have_one_rank() -> None:
    updates = {"q": low((12, 8), 2, 0.5), "k": low((4, 8), 5, -3.0, 1), "v": low((12, 8), 1, 1.0, 2)}
    made = ao.normalize(ao.Adapter.of(updates))
    assert {layout.rank for layout in made.layout.values()} == {5}
    for module, update in updates.items():
        found = made.updates[module]
        assert found.rank == 5
        np.testing.assert_array_equal(found.dense(), update.dense())


def test_an_update_with_more_factors_becomes_lora() -> None:
    update = Hadamard(low((12, 8), 2), low((12, 8), 2, seed=1), 0.5)
    made = ao.normalize(ao.Adapter.of({"q": update, "k": low((4, 8), 1)}))
    np.testing.assert_allclose(made.updates["q"].dense(), update.dense(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", peft_models.CONFIGS)
def test_what_is_saved_has_one_rank_and_one_scale(kind: str, tmp_path: Path) -> None:
    before = ao.open_adapter(peft_models.make(tmp_path / "a", 0, **peft_models.CONFIGS[kind]))
    ao.save_adapter(ao.normalize(before), tmp_path / "out")
    fields = json.loads((tmp_path / "out/adapter_config.json").read_text())
    rank = max(layout.rank for layout in before.layout.values())
    assert (fields["r"], fields["lora_alpha"]) == (rank, rank)
    assert type(fields["lora_alpha"]) is int
    assert (fields["rank_pattern"], fields["alpha_pattern"], fields["use_rslora"]) == ({}, {}, False)
    after = ao.open_adapter(tmp_path / "out")
    for module, update in before.updates.items():
        np.testing.assert_allclose(after.updates[module].dense(), update.dense(), rtol=1e-5, atol=1e-7)


def test_twice_is_once(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", fields=config(2, use_rslora=True))
    ao.save_adapter(ao.normalize(ao.open_adapter(tmp_path / "a")), tmp_path / "one")
    ao.save_adapter(ao.normalize(ao.open_adapter(tmp_path / "one")), tmp_path / "two")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_what_lora_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    norm = {**factors(), "base_model.model.norm.weight": torch.ones(8)}
    write_adapter(tmp_path / "full", norm, config(2, modules_to_save=["norm"]))
    with pytest.raises(UnsupportedError, match="full tensor") as raised:
        ao.normalize(ao.open_adapter(tmp_path / "full"))
    assert raised.value.tensor == "norm.weight"
    assert "fuse" in str(raised.value)
    lengths = {f"base_model.model.{module}.lora_magnitude_vector": torch.ones(12) for module in ("layers.0.q_proj",)}
    write_adapter(tmp_path / "dora", {**factors(["layers.0.q_proj"]), **lengths}, config(2, use_dora=True))
    with pytest.raises(UnsupportedError, match="DoRA") as raised:
        ao.normalize(ao.open_adapter(tmp_path / "dora"))
    assert "--base" in str(raised.value)
    with pytest.raises(OptionError, match="no modules"):
        ao.normalize(ao.Adapter.of({}))


@pytest.mark.parametrize("suffix", ["diff_b", "w_norm"])
def test_a_difference_is_no_bias_of_lora(tmp_path: Path, suffix: str) -> None:
    """It is named as what it is, where the file has no LoRA with biases."""
    q = "diffusion_model.blocks.0.attn.q"
    tensors = {
        f"{q}.lora_A.weight": torch.ones(2, 4),
        f"{q}.lora_B.weight": torch.ones(4, 2),
        f"{q}.{suffix}": torch.ones(4),
    }
    if suffix == "w_norm":
        tensors["diffusion_model.blocks.0.norm.w_norm"] = tensors.pop(f"{q}.w_norm")
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UnsupportedError, match="is a difference of a vector"):
        ao.normalize(ao.open_adapter(tmp_path / "a.safetensors"))


def test_names_of_a_part_of_a_pipeline_are_those_of_its_model(tmp_path: Path) -> None:
    """PEFT wraps one model, and would load nothing under the name of a part; of several parts it wraps one alone."""
    start, encoder = "unet.mid_block.attn1.to_q", "text_encoder.text_model.encoder.layers.0.mlp.fc1"
    pair = {"lora_A": torch.ones(2, 8), "lora_B": torch.ones(8, 2)}
    unet = {f"{start}.{half}.weight": each for half, each in pair.items()}
    save_file(unet, tmp_path / "unet.safetensors")
    save_file(
        unet | {f"{encoder}.{half}.weight": each.clone() for half, each in pair.items()}, tmp_path / "both.safetensors"
    )
    ao.save_adapter(ao.normalize(ao.open_adapter(tmp_path / "unet.safetensors")), tmp_path / "one")
    assert ao.open_adapter(tmp_path / "one").layout.keys() == {"mid_block.attn1.to_q"}
    with pytest.raises(UnsupportedError, match="PEFT wraps one"):
        ao.save_adapter(ao.normalize(ao.open_adapter(tmp_path / "both.safetensors")), tmp_path / "two")
