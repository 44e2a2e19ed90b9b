"""Fuse an adapter shard by shard, by the route of axolotl's cli/utils/lora_merge.py, without its files:
`axolotl_shards.py BASE ADAPTER OUT`.

Each shard is loaded whole, ΔW = B A · alpha / r is computed in the adapter's dtype, the sum in float32, and what was not
changed is saved with it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

base, adapter, out = map(Path, sys.argv[1:])
out.mkdir()
config = json.loads((adapter / "adapter_config.json").read_text())
scale = config["lora_alpha"] / config["r"]
factors = load_file(adapter / "adapter_model.safetensors")
merged = 0
for shard in sorted(base.glob("*.safetensors")):
    tensors = {}
    with safe_open(shard, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            weight = file.get_tensor(name)
            key = f"base_model.model.{name.removesuffix('.weight')}"
            if (A := factors.get(f"{key}.lora_A.weight")) is not None:
                delta = (factors[f"{key}.lora_B.weight"] @ A) * scale
                weight = (weight.to(torch.float32) + delta.to(torch.float32)).to(weight.dtype)
                merged += 1
            tensors[name] = weight
    save_file(tensors, out / shard.name, metadata={"format": "pt"})
for other in base.iterdir():
    if other.suffix != ".safetensors":
        shutil.copy(other, out)
assert merged == len(factors) // 2, "some modules were not found"
