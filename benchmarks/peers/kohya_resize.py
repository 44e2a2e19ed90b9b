"""The route of `networks/resize_lora.py` of kohya's sd-scripts, which no package holds: the float32 product of all modules,
`svd_lowrank` of twice the rank and two iterations where both sides are above 2048, a full SVD elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

LARGE, ITERATIONS = 2048, 2


def resized(down: torch.Tensor, up: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    product = up @ down
    if min(product.shape) > LARGE:
        U, S, V = torch.svd_lowrank(product, q=2 * rank, niter=ITERATIONS)
        return V.T[:rank], U[:, :rank] * S[:rank]
    U, S, Vh = torch.linalg.svd(product)
    return Vh[:rank], U[:, :rank] * S[:rank]


def resize(source: Path, out: Path, rank: int) -> None:
    tensors = {name: tensor.float() for name, tensor in load_file(source / "adapter_model.safetensors").items()}
    made = {}
    with torch.no_grad():
        for name in (name for name in tensors if "lora_A" in name):
            other = name.replace("lora_A", "lora_B")
            made[name], made[other] = (each.contiguous() for each in resized(tensors[name], tensors[other], rank))
    out.mkdir()
    save_file(made, out / "adapter_model.safetensors")


if __name__ == "__main__":
    resize(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
