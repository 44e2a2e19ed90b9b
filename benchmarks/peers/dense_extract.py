"""Rank 32 of a dense difference by a full SVD: `dense_extract.py OUT IN`. Prints the seconds of one tensor."""

import sys
import time

import torch

generator = torch.Generator().manual_seed(0)
delta = torch.randn(int(sys.argv[1]), int(sys.argv[2]), generator=generator)
begin = time.perf_counter()
u, s, vt = torch.linalg.svd(delta, full_matrices=False)
u[:, :32] * s[:32], vt[:32]
print(time.perf_counter() - begin)
