"""Tensors that updates see as another matrix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.operations.verifying import verify

KERNEL = (8, 6, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_in_one_dimension(tmp_path: Path, dtype: torch.dtype) -> None:
    """What is changed of it, and what survived, is that of the tensor; its bias is another tensor."""
    torch.manual_seed(0)
    W, A, B = torch.randn(KERNEL).to(dtype), torch.randn(2, *KERNEL[1:]), torch.randn(8, 2, 1)
    (tmp_path / "base").mkdir()
    save_file({"blocks.0.conv.weight": W, "blocks.0.conv.bias": torch.zeros(8)}, tmp_path / "base/model.safetensors")
    name = "diffusion_model.blocks.0.conv"
    stored = {f"{name}.lora_A.weight": A, f"{name}.lora_B.weight": B, f"{name}.diff_b": torch.ones(8)}
    save_file(stored, tmp_path / "a.safetensors")
    base, adapter = ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "a.safetensors")
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "out")
    wanted = W.double() + torch.einsum("or,rik->oik", B.flatten(1).double(), A.double())
    found = load_file(tmp_path / "out/model.safetensors")
    torch.testing.assert_close(found["blocks.0.conv.weight"], wanted.to(dtype))
    assert torch.equal(found["blocks.0.conv.bias"], torch.ones(8))
    report = verify(ao.open_checkpoint(tmp_path / "out"), base, adapter)
    assert report.problems == []
    back = ao.unfuse(ao.open_checkpoint(tmp_path / "out"), adapter).tensors["blocks.0.conv.weight"]
    torch.testing.assert_close(torch.as_tensor(back).to(dtype), W, atol=0.05, rtol=0.05)
