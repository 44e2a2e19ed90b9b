"""What an opened checkpoint says of its tensors before any is read, and the rows of those that are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.checkpoints import checkpoint as module
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError

Q, V, NORM = "model.layers.0.q_proj.weight", "model.layers.0.v_proj.weight", "model.norm.weight"


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return ao.open_checkpoint(write_base(tmp_path / "base"))


@pytest.fixture
def fused(base: Checkpoint, tmp_path: Path) -> Checkpoint:
    return ao.fuse(base, ao.open_adapter(write_tuned(tmp_path / "a")))


def stored(base: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in base.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_tensors_are_those_of_the_files_and_the_sums(fused: Checkpoint, tmp_path: Path) -> None:
    """The one rounding is that of torch, to the nearest number, ties to even."""
    before, factors = stored(tmp_path / "base"), load_file(tmp_path / "a/adapter_model.safetensors")
    for name in before:
        tensor = fused.tensors[name]
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        expected = before[name]
        if f"{key}A.weight" in factors:
            delta = 2 * factors[f"{key}B.weight"].double() @ factors[f"{key}A.weight"].double()
            expected = (expected.double() + delta).float().bfloat16()
        assert torch.equal(tensor, expected), name


def test_what_is_computed_is_what_changes(base: Checkpoint, fused: Checkpoint) -> None:
    assert base.changed == []
    assert sorted(fused.changed) == sorted(name for name in fused.layout if "_proj" in name)
    assert sorted(ao.cast(base, "F32").changed) == sorted(name for name in base.layout if name != "steps")


def test_bytes_are_those_of_the_dtype_and_of_the_parts(base: Checkpoint, tmp_path: Path) -> None:
    assert base.parts(Q) == {"": (Q, base.layout[Q])}
    assert [base.bytes(name) for name in (Q, NORM, "steps")] == [12 * 8 * 2, 8 * 2, 8]
    coded = ao.quantize(ao.open_checkpoint(write_base(tmp_path / "wide", out=64, into=128)), "int8")
    assert coded.bytes(Q) == 64 * 128 + 4 * 64 + 1, "a byte for each entry, a float32 for each row, and the format"
    assert coded.needs_torch
    assert not base.needs_torch


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 4, 5), (40,), (0, 4), (33, 300)])
def test_blocks_are_every_row_once(tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    (tmp_path / "m").mkdir()
    save_file({"x": torch.zeros(shape)}, tmp_path / "m/model.safetensors")
    checkpoint = ao.open_checkpoint(tmp_path / "m")
    height, width = checkpoint.layout["x"].matrix
    for each, step in ((checkpoint, 1), (replace(checkpoint, entire={"x"}), height)):
        blocks = list(each.blocks("x"))
        assert [row for begin, end in blocks for row in range(begin, end)] == list(range(height))
        assert all((end - begin) * width <= max(1000, width * step) for begin, end in blocks)
    assert len(blocks) <= 1, "all rows together"


def test_draws_are_those_of_the_block_the_tensor_and_the_seed(base: Checkpoint) -> None:
    """Whoever computes a block, whenever, gets the same; no two blocks do."""
    chance = replace(base, rounding="stochastic", seed=5)
    found = chance.draws(Q, 0, 12)
    assert found is not None
    assert found.shape == (12, 8)
    assert 0 <= found.min() < found.max() < 1
    assert np.array_equal(found, replace(base, rounding="stochastic", seed=5).draws(Q, 0, 12))
    others = (chance.draws(Q, 12, 24), replace(chance, seed=6).draws(Q, 0, 12), chance.draws(V, 0, 12))
    assert not any(np.array_equal(found, other) for other in others)
    assert base.draws(Q, 0, 12) is None
    assert ao.cast(chance, "F32").draws(Q, 0, 12) is None, "32 bits are rounded to nearest"


def test_a_pipeline_is_not_one_model(base: Checkpoint) -> None:
    base.check_one("quantized")
    assert base.files is not None
    pipeline = replace(
        base, files=replace(base.files, components={"unet": None, "vae": None})
    )  # their names are what counts
    with pytest.raises(UnsupportedError, match="is a pipeline of unet, vae, and only one of them can be quantized"):
        pipeline.check_one("quantized")


def test_memory_grows_with_workers_and_with_what_an_edit_keeps(fused: Checkpoint) -> None:
    one, two = fused.working_memory(1), fused.working_memory(2)
    assert two - one == one - fused.working_memory(0)
    assert replace(fused, holding={Q: 10**9}).working_memory(3) >= 3 * 10**9
