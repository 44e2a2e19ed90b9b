"""What a base settles of an adapter; what PEFT makes of it is in tests/interop/test_other_kinds.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from corpus import config, write_adapter
from safetensors.torch import load_file, save_file
from torch import nn

import adapterops as ao
from adapterops.operations.targets.based import fitted, on_base

PREFIX = "base_model.model.layers.0."
SHARED = {"base_model.vera_A": torch.ones(2, 8), "base_model.vera_B": torch.ones(8, 2)}
VECTORS = {f"{PREFIX}q_proj.vera_lambda_b": torch.ones(4), f"{PREFIX}q_proj.vera_lambda_d": torch.ones(2)}


def model(folder: Path, rows: int = 4) -> ao.Checkpoint:
    folder.mkdir()
    save_file({"layers.0.q_proj.weight": torch.randn(rows, 6)}, folder / "model.safetensors", {"format": "pt"})
    return ao.open_checkpoint(folder)


def test_shapes_that_only_the_base_has(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", {**VECTORS, **SHARED}, {"peft_type": "VERA", "r": 2}))
    module = "layers.0.q_proj"
    assert adapter.layout[module].shape == (4, 0)
    found = fitted(adapter, model(tmp_path / "base"))
    assert found.layout[module].shape == found.updates[module].shape == (4, 6)
    assert not found.layout[module].needs_base
    other = fitted(adapter, model(tmp_path / "other", 5))
    assert other.layout[module].shape == (4, 0)


def test_a_bias_that_the_base_has_not_is_left_out(tmp_path: Path) -> None:
    tensors = {f"{PREFIX}q_proj.ia3_l": torch.ones(4, 1)}
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", tensors, {"peft_type": "IA3"}))
    assert list(adapter.layout) == ["layers.0.q_proj", "layers.0.q_proj.bias"]
    assert list(fitted(adapter, model(tmp_path / "base")).layout) == ["layers.0.q_proj"]


def test_what_started_on_a_changed_base_is_lora_then(tmp_path: Path) -> None:
    tensors = {f"{PREFIX}q_proj.lora_A.weight": torch.randn(2, 6), f"{PREFIX}q_proj.lora_B.weight": torch.randn(4, 2)}
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", tensors, config(2, init_lora_weights="pissa")))
    found = on_base(adapter, model(tmp_path / "base"))
    assert adapter.layout["layers.0.q_proj"].needs_base
    assert not found.layout["layers.0.q_proj"].needs_base
    assert found.layout["layers.0.q_proj"].rank == found.updates["layers.0.q_proj"].rank == 4


@pytest.mark.parametrize(("format", "names"), [("kohya", ["diff"]), ("comfy", ["diff"]), ("mlx", ["lora_a", "lora_b"])])
def test_what_it_changes_is_written_whole(format: str, names: list[str], tmp_path: Path) -> None:
    """As a difference, or with all of its rank."""
    tensors = {f"{PREFIX}q_proj.ia3_l": torch.tensor([[2.0], [0.5], [1.0], [3.0]])}
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", tensors, {"peft_type": "IA3"}))
    base = model(tmp_path / "base")
    found = on_base(adapter, base, differences=True)
    ao.save_adapter(found, tmp_path / "out", format=format)
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert sorted(name.rpartition(".")[2] for name in load_file(file)) == names
    again = ao.open_adapter(tmp_path / "out")
    for one, other in zip(again.updates.values(), found.updates.values(), strict=True):
        np.testing.assert_allclose(one.dense(), other.dense(), atol=1e-6)


@pytest.mark.parametrize("width", [1, 3])
def test_dora_of_a_convolution_in_one_dimension_is_a_difference(tmp_path: Path, width: int) -> None:
    """That of the weights that PEFT merges."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(6, 8, width))
    W = model[0].weight.detach().clone()
    save_file({"0.weight": W}, tmp_path / "base.safetensors")
    live: Any = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["0"], use_dora=True))
    with torch.no_grad():
        for name, parameter in live.named_parameters():
            if "lora_" in name:
                parameter.add_(0.3 * torch.rand_like(parameter))
    live.save_pretrained(tmp_path / "a")
    adapter, base = ao.open_adapter(tmp_path / "a"), ao.open_checkpoint(tmp_path / "base.safetensors")
    found = on_base(adapter, base, differences=True).updates["0"].dense()
    merged = live.merge_and_unload().state_dict()["0.weight"]
    torch.testing.assert_close(torch.as_tensor(found).float().reshape(W.shape), merged - W, atol=1e-5, rtol=1e-5)
