"""The dense SVD of B A, as PEFT and kohya truncate: `dense_svd.py ADAPTER MODULE`. Prints the seconds of one module."""

import sys
import time

import torch
from safetensors import safe_open

with safe_open(f"{sys.argv[1]}/adapter_model.safetensors", "pt") as file:
    A, B = (file.get_tensor(f"base_model.model.{sys.argv[2]}.lora_{role}.weight").float() for role in "AB")
begin = time.perf_counter()
u, s, vt = torch.linalg.svd(B @ A, full_matrices=False)
u[:, :8] * s[:8], vt[:8]
print(time.perf_counter() - begin)
