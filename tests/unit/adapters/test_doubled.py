"""What a file has whole and in parts counts once where it is the same, or where the parts are zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao

WHOLE = "layers.0.attention.qkv"


def both(scale: float) -> dict[str, torch.Tensor]:
    """An update of q, k and v, spelled with dots, and once more of the joined weight; `scale` times it in the parts."""
    torch.manual_seed(0)
    parts = {each: (torch.randn(2, 8), torch.randn(8, 2)) for each in "qkv"}
    tensors = {
        f"{WHOLE}.lora.down.weight": torch.cat([A for A, _ in parts.values()]),
        f"{WHOLE}.lora.up.weight": torch.block_diag(*(B for _, B in parts.values())),
    }
    for each, (A, B) in parts.items():
        tensors |= {
            f"layers.0.attention.to.{each}.lora.down.weight": A,
            f"layers.0.attention.to.{each}.lora.up.weight": scale * B,
            f"layers.0.attention.to_{each}.alpha": torch.tensor(2.0),
        }
    return tensors


@pytest.mark.parametrize("scale", [1, 0])
def test_once(tmp_path: Path, scale: int) -> None:
    save_file(both(scale), tmp_path / "a.safetensors")
    assert list(ao.open_adapter(tmp_path / "a.safetensors").layout) == [WHOLE]


def test_what_differs_stays(tmp_path: Path) -> None:
    save_file(both(0.5), tmp_path / "a.safetensors")
    assert len(ao.open_adapter(tmp_path / "a.safetensors").layout) == 4
