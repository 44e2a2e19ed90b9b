from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from strategies import entries

from adapterops.adapter import Adapter
from adapterops.checkpoint import Checkpoint, open_checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.peft_config import AdapterConfig
from adapterops.operations.experts import fitted
from adapterops.operations.fusion import fuse
from adapterops.updates.lowrank import LowRank

E, H, I = 2, 6, 4  # noqa: E741  # experts, hidden and intermediate size
EXPERTS = "model.layers.0.mlp.experts"


def base(folder: Path, model_type: str = "qwen3_moe", count: int = E) -> Checkpoint:
    """Every expert by itself."""
    folder.mkdir()
    shapes = {"gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I)}
    tensors = {f"{EXPERTS}.{e}.{name}.weight": torch.zeros(shape) for e in range(count) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return open_checkpoint(folder)


def adapter(shape: tuple[int, int] = (2 * I, H)) -> Adapter:
    generator = torch.Generator().manual_seed(0)
    updates = {
        f"{EXPERTS}.{e}.gate_up_proj": LowRank(
            torch.randn(shape[0], 2, generator=generator), torch.randn(2, shape[1], generator=generator), 0.5
        )
        for e in range(E)
    }
    return Adapter.of(updates, AdapterConfig(experts={f"{EXPERTS}.gate_up_proj": E}))


@pytest.mark.parametrize("shape", [(2 * I, H), (H, 2 * I)])
def test_gate_and_up_are_the_halves_of_gate_up_whichever_way_round_it_is(tmp_path: Path, shape: tuple[int, int]) -> None:
    whole = adapter(shape)
    found = fitted(whole, base(tmp_path / "base"))
    assert set(found.layout) == {f"{EXPERTS}.{e}.{name}" for e in range(E) for name in ("gate_proj", "up_proj")}
    for e in range(E):
        halves = [entries(found.updates[f"{EXPERTS}.{e}.{name}"]) for name in ("gate_proj", "up_proj")]
        expected = entries(whole.updates[f"{EXPERTS}.{e}.gate_up_proj"])
        torch.testing.assert_close(torch.cat(halves), expected if shape[0] == 2 * I else expected.T)
        assert found.layout[f"{EXPERTS}.{e}.up_proj"].shape == (I, H)


def test_rows_in_turn_are_not_divided(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="mixed"):
        fitted(adapter(), base(tmp_path / "base", "gpt_oss"))


def test_another_number_of_experts(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="2 experts in the adapter, and 3 in the base") as caught:
        fitted(adapter(), base(tmp_path / "base", count=3))
    assert caught.value.tensor == f"{EXPERTS}.gate_up_proj"


@pytest.mark.parametrize("shape", [(2 * I + 1, H), (2 * I, H + 1), (I, H)])
def test_experts_of_another_size_do_not_fit(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(IncompatibleError, match="half of"):
        fuse(base(tmp_path / "base"), adapter(shape))
