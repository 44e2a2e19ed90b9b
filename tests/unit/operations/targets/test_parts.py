from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from strategies import entries

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.fusion import fuse
from adapterops.operations.targets.parts import by_part
from adapterops.operations.targets.table import resolve
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Linear

E, H, I = 2, 6, 4  # noqa: E741  # experts, hidden and intermediate size
EXPERTS = "model.layers.0.mlp.experts"


def base(folder: Path) -> Checkpoint:
    """Every expert by itself."""
    folder.mkdir()
    shapes = {"gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I)}
    tensors = {f"{EXPERTS}.{e}.{name}.weight": torch.zeros(shape) for e in range(E) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return open_checkpoint(folder)


def adapter(shape: tuple[int, int] = (2 * I, H), dense: bool = False) -> Adapter:
    generator = torch.Generator().manual_seed(0)
    updates: dict[str, Linear] = {}
    for e in range(E):
        B, A = torch.randn(shape[0], 2, generator=generator), torch.randn(2, shape[1], generator=generator)
        updates[f"{EXPERTS}.{e}.gate_up_proj"] = (
            Dense((0.5 * B @ A).numpy()) if dense else LowRank(B.numpy(), A.numpy(), 0.5)
        )
    return Adapter.of(updates, AdapterConfig(experts={f"{EXPERTS}.gate_up_proj": E}))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("shape", [(2 * I, H), (H, 2 * I)])
def test_gate_and_up_are_the_halves_of_gate_up_whichever_way_round_it_is(
    tmp_path: Path, shape: tuple[int, int], dense: bool
) -> None:
    whole, model = adapter(shape, dense), base(tmp_path / "base")
    found = by_part(whole, resolve(whole, model))
    assert set(found.layout) == {f"{EXPERTS}.{e}.{name}" for e in range(E) for name in ("gate_proj", "up_proj")}
    fused = fuse(model, whole)
    for e in range(E):
        names = [f"{EXPERTS}.{e}.{name}" for name in ("gate_proj", "up_proj")]
        halves = [entries(found.updates[name]) for name in names]
        expected = entries(whole.updates[f"{EXPERTS}.{e}.gate_up_proj"])
        torch.testing.assert_close(torch.cat(halves), expected if shape[0] == 2 * I else expected.T)
        assert found.layout[names[1]].shape == (I, H)
        for name, half in zip(names, halves, strict=True):
            torch.testing.assert_close(fused.tensors[f"{name}.weight"].double(), half.double(), rtol=1e-6, atol=1e-6)


def test_an_adapter_whose_updates_all_have_a_tensor_is_itself(tmp_path: Path) -> None:
    down = Adapter.of({f"{EXPERTS}.0.down_proj": LowRank(torch.ones(H, 1).numpy(), torch.ones(1, I).numpy())})
    assert by_part(down, resolve(down, base(tmp_path / "base"))) is down
