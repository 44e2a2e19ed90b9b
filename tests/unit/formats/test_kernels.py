"""Convolutions in files: PEFT loads what is converted from kohya's names, and adds the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

import adapterops as ao
from adapterops.cli.main import run


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList([nn.Conv2d(4, 6, 3, padding=1)])
        self.proj = nn.Conv2d(6, 5, 1)


def test_peft_loads_a_convolution(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"down_blocks_0": ((3, 4, 3, 3), (6, 3, 1, 1)), "proj": ((2, 6, 1, 1), (5, 2, 1, 1))}
    tensors = {}
    for module, each in shapes.items():
        for role, shape in zip(("down", "up"), each, strict=True):
            tensors[f"lora_unet_{module}.lora_{role}.weight"] = random.standard_normal(shape).astype(np.float32)
        tensors[f"lora_unet_{module}.alpha"] = np.ones((), np.float32)
    save_file(tensors, tmp_path / "kohya.safetensors")
    torch.manual_seed(0)
    net = Net()
    (tmp_path / "base").mkdir()
    stored = {name: each.detach().numpy() for name, each in net.state_dict().items()}
    save_file(stored, tmp_path / "base/model.safetensors", {"format": "pt"})
    line = ["convert", str(tmp_path / "kohya.safetensors"), "--to", "peft", "--base", str(tmp_path / "base")]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    names = load_file(tmp_path / "out/adapter_model.safetensors")
    assert names["base_model.model.down_blocks.0.lora_A.weight"].shape == (3, 4, 3, 3)
    model = peft.PeftModel.from_pretrained(net, tmp_path / "out")
    for module, flat in (("down_blocks.0", "down_blocks_0"), ("proj", "proj")):
        A, B = (tensors[f"lora_unet_{flat}.lora_{role}.weight"] for role in ("down", "up"))
        expected = (B.reshape(len(B), -1) @ A.reshape(len(A), -1) / len(A)).reshape(-1)
        layer = model.base_model.model.get_submodule(module)
        np.testing.assert_allclose(
            layer.get_delta_weight("default").detach().numpy().reshape(-1), expected, rtol=1e-5, atol=1e-6
        )
    assert ao.open_adapter(tmp_path / "out").layout["down_blocks.0"].kernel == (4, 3, 3)
