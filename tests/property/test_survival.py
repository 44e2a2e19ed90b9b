"""How much of an update is left when a model goes into codes:
on the grid it lies on little or all, from 16 bits all.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from codes import normal
from corpus import config, write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.engine.execution import Execution

MODULE = "model.layers.0.mlp.up_proj"
SIZE, RANK = 1024, 16

GAINS: dict[tuple[str, str], dict[float, tuple[float, float]]] = {
    ("nf4", "nearest"): {0.003: (0.01, 0.012), 0.01: (0.016, 0.006), 0.03: (0.04, 0.01), 0.1: (0.84, 0.04)},
    ("nf4", "stochastic"): {0.003: (1.0, 0.05), 0.01: (1.0, 0.02), 0.03: (1.0, 0.01), 0.1: (1.0, 0.01)},
    ("nf4", "16 bits"): {0.003: (1.0, 0.12), 0.01: (1.0, 0.05), 0.03: (1.0, 0.02), 0.1: (1.0, 0.01)},
    ("int8", "nearest"): {0.003: (0.02, 0.02), 0.01: (0.85, 0.05), 0.03: (1.0, 0.01), 0.1: (1.0, 0.01)},
    ("int8", "stochastic"): {0.003: (1.0, 0.02), 0.01: (1.0, 0.01), 0.03: (1.0, 0.01), 0.1: (1.0, 0.01)},
    ("int8", "16 bits"): {0.003: (1.0, 0.02), 0.01: (1.0, 0.01), 0.03: (1.0, 0.01), 0.1: (1.0, 0.01)},
}
"""Scheme and way → ‖ΔW‖ / ‖W‖ → ⟨W' - W, ΔW⟩ / ‖ΔW‖², and how far it may be off, on weights of a normal distribution.

What codes of eight bits stand for is used in bfloat16, which takes it off the grid a little, so that a little more
survives."""

NOISE = {0.003: 0.026, 0.01: 0.047, 0.03: 0.078, 0.1: 0.117}
"""‖W' - (W + ΔW)‖ / ‖W‖ of NF4 by chance."""

CHANGED = {0.003: (0.0, 0.002), 0.01: (0.0, 0.002), 0.03: (0.001, 0.002), 0.1: (0.20, 0.03)}
"""Codes of NF4 that nearest rounding changes."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One weight in 16 bits and in two schemes, and an adapter for each size of update."""
    place = tmp_path_factory.mktemp("models")
    (place / "16 bits").mkdir()
    W = (0.02 * normal(1, SIZE, SIZE)).bfloat16()
    save_file({f"{MODULE}.weight": W}, place / "16 bits/model.safetensors", {"format": "pt"})
    (place / "16 bits/config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16"}))
    for scheme in ("nf4", "int8"):
        ao.save_checkpoint(
            ao.quantize(ao.open_checkpoint(place / "16 bits"), scheme), place / scheme, how=Execution(sync=False)
        )
    B, A = normal(2, SIZE, RANK), normal(3, RANK, SIZE)
    B *= W.float().norm() / (B @ A).norm()
    for size in NOISE:
        names = {"A": A, "B": size * B}
        tensors = {f"base_model.model.{MODULE}.lora_{role}.weight": tensor for role, tensor in names.items()}
        write_adapter(place / str(size), tensors, config(RANK, lora_alpha=RANK, target_modules=["up_proj"]))
    return place


@pytest.mark.parametrize("size", NOISE)
@pytest.mark.parametrize(("scheme", "way"), GAINS)
def test_how_much_of_an_update_survives(models: Path, tmp_path: Path, scheme: str, way: str, size: float) -> None:
    adapter = ao.open_adapter(models / str(size))
    base = ao.open_checkpoint(models / ("16 bits" if way == "16 bits" else scheme))
    fused = ao.fuse(base, adapter)
    model = ao.quantize(fused, scheme) if way == "16 bits" else ao.rounding(fused, way, seed=1)
    found = ao.save_checkpoint(model, tmp_path / "out", how=Execution(sync=False), accept_loss=True).total
    gain, off = GAINS[scheme, way][size]
    assert found.relative == pytest.approx(size, rel=0.02)
    assert found.gain == pytest.approx(gain, abs=off)
    if (scheme, way) == ("nf4", "stochastic"):
        assert found.noise == pytest.approx(NOISE[size], rel=0.05)
    if (scheme, way) == ("nf4", "16 bits"):
        assert found.noise == pytest.approx(0.092, rel=0.02)


@pytest.mark.parametrize("size", NOISE)
def test_how_many_codes_nearest_rounding_changes(models: Path, tmp_path: Path, size: float) -> None:
    """The entries that are said to have changed are those with another code."""
    fused = ao.fuse(ao.open_checkpoint(models / "nf4"), ao.open_adapter(models / str(size)))
    found = ao.save_checkpoint(
        ao.rounding(fused, "nearest"), tmp_path / "out", how=Execution(sync=False), accept_loss=True
    ).total
    before, after = (
        load_file(folder / "model.safetensors")[f"{MODULE}.weight"] for folder in (models / "nf4", tmp_path / "out")
    )
    differ = before ^ after
    codes = int((differ & 0xF0 != 0).sum() + (differ & 0x0F != 0).sum())
    share, off = CHANGED[size]
    assert codes / found.entries == pytest.approx(share, abs=off)
    assert found.changed == codes


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8"])
def test_weights_of_several_pieces_that_end_anywhere(tmp_path: Path, scheme: str) -> None:
    """Blocks run across rows, and the last one is short:
    by chance or anew, it is what it should be, whoever computes it.
    """
    shape, module = (1101, 1001), MODULE
    (tmp_path / "base").mkdir()
    save_file({f"{module}.weight": 0.02 * normal(5, *shape)}, tmp_path / "base/model.safetensors", {"format": "pt"})
    tensors = {
        f"base_model.model.{module}.lora_A.weight": normal(6, 4, 1001),
        f"base_model.model.{module}.lora_B.weight": normal(7, 1101, 4),
    }
    adapter = ao.open_adapter(
        write_adapter(tmp_path / "a", {name: 0.03 * each for name, each in tensors.items()}, config(4, lora_alpha=4))
    )
    base = ao.open_checkpoint(tmp_path / "base")
    ao.save_checkpoint(ao.quantize(ao.fuse(base, adapter), scheme), tmp_path / "anew", how=Execution(sync=False))
    assert ao.verify(ao.open_checkpoint(tmp_path / "anew"), base, adapter).ok
    ao.save_checkpoint(ao.quantize(base, scheme), tmp_path / "codes", how=Execution(sync=False))
    coded = ao.open_checkpoint(tmp_path / "codes")
    fused = ao.save_checkpoint(
        ao.rounding(ao.fuse(coded, adapter), "stochastic", 3), tmp_path / "by chance", how=Execution(sync=False)
    )
    assert fused.total.gain == pytest.approx(1.0, abs=0.02)
    assert ao.verify(ao.open_checkpoint(tmp_path / "by chance"), coded, adapter, seed=3).ok
    assert not ao.verify(ao.open_checkpoint(tmp_path / "by chance"), coded, adapter, seed=4).ok


IN_16_BITS = {
    "nearest": {0.01: (0.9996, 0.001), 0.003: (0.927, 0.01)},
    "stochastic": {0.01: (1, 0.002), 0.003: (1, 0.005)},
}


@pytest.mark.parametrize("size", [0.01, 0.003])
@pytest.mark.parametrize("way", IN_16_BITS)
def test_chance_keeps_in_16_bits_what_rounding_to_nearest_erases(
    models: Path, tmp_path: Path, way: str, size: float
) -> None:
    base, adapter = ao.open_checkpoint(models / "16 bits"), ao.open_adapter(models / str(size))
    saved = ao.save_checkpoint(
        ao.rounding(ao.fuse(base, adapter), way, seed=1), tmp_path / "out", how=Execution(sync=False)
    )
    gain, off = IN_16_BITS[way][size]
    assert saved.total.gain == pytest.approx(gain, abs=off)
    W, found = (
        load_file(place / "model.safetensors")[f"{MODULE}.weight"] for place in (models / "16 bits", tmp_path / "out")
    )
    assert torch.equal(ao.rounding(ao.fuse(base, adapter), way, seed=1).tensors[f"{MODULE}.weight"], found)
    assert saved.total.changed == int((found != W).sum())


def test_sums_by_chance_are_verified_and_nothing_else_is(models: Path, tmp_path: Path) -> None:
    base, adapter = ao.open_checkpoint(models / "16 bits"), ao.open_adapter(models / "0.003")
    ao.save_checkpoint(
        ao.rounding(ao.fuse(base, adapter), "stochastic", 3), tmp_path / "out", how=Execution(sync=False)
    )
    found = ao.verify(ao.open_checkpoint(tmp_path / "out"), base, adapter, seed=3)
    assert found.ok
    assert found.modules[MODULE].exact == SIZE * SIZE
    assert not ao.verify(ao.open_checkpoint(tmp_path / "out"), base, adapter, seed=4).ok
    assert not ao.verify(ao.open_checkpoint(tmp_path / "out"), base, adapter).ok
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "nearest", how=Execution(sync=False))
    assert not ao.verify(ao.open_checkpoint(tmp_path / "nearest"), base, adapter, seed=3).ok


@pytest.mark.parametrize("step", [1, 2, -1])
def test_one_number_beside_its_sum_is_found(models: Path, tmp_path: Path, step: int) -> None:
    base, adapter = ao.open_checkpoint(models / "16 bits"), ao.open_adapter(models / "0.003")
    ao.save_checkpoint(
        ao.rounding(ao.fuse(base, adapter), "stochastic", 3), tmp_path / "out", how=Execution(sync=False)
    )
    tensors = load_file(tmp_path / "out/model.safetensors")
    tensors[f"{MODULE}.weight"].view(torch.int16)[700, 3] += step
    save_file(tensors, tmp_path / "out/model.safetensors", {"format": "pt"})
    found = ao.verify(ao.open_checkpoint(tmp_path / "out"), base, adapter, seed=3)
    assert found.modules[MODULE].wrong == 1
