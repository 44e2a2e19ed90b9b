"""The difference of two models as an adapter, and what is not in one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError
from adapterops.operations.extraction import difference, extract


@pytest.fixture
def models(tmp_path: Path) -> tuple[Checkpoint, Checkpoint]:
    base = ao.open_checkpoint(write_base(tmp_path / "base"))
    fused = ao.fuse(base, ao.open_adapter(write_tuned(tmp_path / "a")), dtype="F32")
    ao.save_checkpoint(fused, tmp_path / "tuned")
    return ao.open_checkpoint(tmp_path / "tuned"), base


def test_the_adapter_is_found_again(models: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    found, adapter = extract(*models, rank=2), ao.open_adapter(tmp_path / "a")
    assert found.layout.keys() == adapter.layout.keys()
    for module, update in found.updates.items():
        np.testing.assert_allclose(update.dense(), adapter.updates[module].dense(), atol=1e-4)


def test_a_plan_knows_every_module_that_may_differ(models: tuple[Checkpoint, Checkpoint]) -> None:
    assert difference(*models, planning=True).layout.keys() >= difference(*models).layout.keys()


@pytest.mark.filterwarnings("ignore:.*total_size")
@pytest.mark.parametrize("planning", [False, True])
def test_a_base_with_layers_of_another_size_is_refused_though_some_weights_fit(
    models: tuple[Checkpoint, Checkpoint], tmp_path: Path, planning: bool
) -> None:
    for file in (tmp_path / "tuned").glob("*.safetensors"):
        tensors = {name: tensor[:6] if "v_proj" in name else tensor for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(IncompatibleError, match="the models have different sizes") as caught:
        difference(ao.open_checkpoint(tmp_path / "tuned"), models[1], planning=planning)
    assert caught.value.tensor == "model.layers.0.v_proj.weight"
    dropped = difference(ao.open_checkpoint(tmp_path / "tuned"), models[1], planning=True, rest="drop")
    assert dropped.layout.keys() == {f"model.layers.{layer}.q_proj" for layer in range(3)}


@pytest.mark.filterwarnings("ignore:.*total_size")
def test_a_head_of_another_size_is_kept(models: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    for folder, classes in (("base", 2), ("tuned", 3)):
        index = tmp_path / folder / "model.safetensors.index.json"
        names = json.loads(index.read_text())
        names["weight_map"]["score.weight"] = "head.safetensors"
        index.write_text(json.dumps(names))
        save_file(
            {"score.weight": torch.ones(classes, 8)}, index.parent / "head.safetensors", metadata={"format": "pt"}
        )
    found = extract(ao.open_checkpoint(tmp_path / "tuned"), ao.open_checkpoint(tmp_path / "base"), rank=2)
    assert list(found.full) == ["score.weight"]


def test_a_changed_norm_is_refused_dropped_or_kept(models: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    file = tmp_path / "tuned/model-00001-of-00004.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.norm.weight"] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    tuned = ao.open_checkpoint(tmp_path / "tuned")
    with pytest.raises(IncompatibleError, match="1 tensor changed outside of Linear layers") as caught:
        extract(tuned, models[1], rank=2, rest="refuse")
    assert caught.value.code == "E-REST"
    with pytest.warns(AdapterWarning, match="changed and dropped"):
        assert not extract(tuned, models[1], rank=2, rest="drop").full
    assert list(extract(tuned, models[1], rank=2).full) == ["model.layers.0.norm.weight"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rest", ["keep", "drop", "refuse"])
def test_rounding_to_a_narrower_dtype_is_no_change(tmp_path: Path, dtype: torch.dtype, rest: str) -> None:
    before = {f"layers.{layer}.fc.weight": torch.randn(6, 4) for layer in range(3)} | {"norm.weight": torch.randn(4)}
    after = {**before, "layers.1.fc.weight": before["layers.1.fc.weight"] + torch.randn(6, 1) @ torch.randn(1, 4)}
    save_file(before, tmp_path / "base.safetensors")
    save_file({name: tensor.to(dtype) for name, tensor in after.items()}, tmp_path / "tuned.safetensors")
    tuned, base = (ao.open_checkpoint(tmp_path / f"{name}.safetensors") for name in ("tuned", "base"))
    with pytest.warns(AdapterWarning, match="3 tensors left out: .* rounded to its dtype"):
        found = extract(tuned, base, rank=1, rest=rest)
    assert (list(found.layout), list(found.full)) == (["layers.1.fc"], [])


def test_a_model_that_is_only_rounded_has_no_change(tmp_path: Path) -> None:
    tensors = {"layers.0.fc.weight": torch.randn(6, 4)}
    save_file(tensors, tmp_path / "base.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "tuned.safetensors")
    tuned, base = (ao.open_checkpoint(tmp_path / f"{name}.safetensors") for name in ("tuned", "base"))
    with pytest.raises(IncompatibleError, match="hold the same numbers, rounded to the dtype of the tuned one"):
        extract(tuned, base, rank=1)


def test_one_number_that_is_a_step_away_is_a_change(tmp_path: Path) -> None:
    before = torch.full((2, 2), 1 + 0.3 * 2**-7)
    rounded = before.bfloat16()
    moved = rounded.clone()
    moved[1, 1] += 2**-7
    save_file({"a.weight": before, "b.weight": before.clone()}, tmp_path / "base.safetensors")
    save_file({"a.weight": moved, "b.weight": rounded}, tmp_path / "tuned.safetensors")
    tuned, base = (ao.open_checkpoint(tmp_path / f"{name}.safetensors") for name in ("tuned", "base"))
    with pytest.warns(AdapterWarning, match="1 tensor left out"):
        assert list(difference(tuned, base).layout) == ["a"]
