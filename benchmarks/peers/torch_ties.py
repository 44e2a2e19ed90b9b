"""TIES on ΔW as one would write it in torch: `torch_ties.py A B OUT`.
kthvalue, stack, elect, mean, svd_lowrank; all modules.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

DENSITY, RANK = 0.2, 16


def trim(delta: torch.Tensor) -> torch.Tensor:
    drop = delta.numel() - int(DENSITY * delta.numel())
    return torch.where(delta.abs() > delta.abs().flatten().kthvalue(drop).values, delta, 0)


files, scales = [], []
for folder in map(Path, sys.argv[1:3]):
    config = json.loads((folder / "adapter_config.json").read_text())
    scales.append(config["lora_alpha"] / config["r"])
    files.append(safe_open(folder / "adapter_model.safetensors", "pt"))
result = {}
for name in (key for key in files[0].keys() if "lora_A" in key):  # noqa: SIM118  # safe_open is no mapping
    other = name.replace("lora_A", "lora_B")
    deltas = torch.stack(
        [
            trim(scale * (file.get_tensor(other) @ file.get_tensor(name)))
            for file, scale in zip(files, scales, strict=True)
        ]
    )
    agree = deltas.sign() == torch.where(deltas.sum(0) >= 0, 1.0, -1.0)
    merged = (deltas * agree).sum(0) / agree.sum(0).clamp(min=1)
    u, s, v = torch.svd_lowrank(merged, q=RANK + 10, niter=2)
    root = s[:RANK].sqrt()
    result[other] = (u[:, :RANK] * root).contiguous()
    result[name] = (root[:, None] * v[:, :RANK].T).contiguous()
Path(sys.argv[3]).mkdir()
save_file(result, Path(sys.argv[3]) / "adapter_model.safetensors")
