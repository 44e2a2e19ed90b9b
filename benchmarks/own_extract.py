"""Rank 32 of a dense difference: `own_extract.py OUT IN [--error]`.
Prints the seconds, or the error beside that of the best rank 32.
"""

import sys
import time

import torch

from adapterops.linalg.factor import factorize
from adapterops.updates.dense import Dense

generator = torch.Generator().manual_seed(0)
out, into = int(sys.argv[1]), int(sys.argv[2])
B, A = torch.randn(out, 40, generator=generator), torch.randn(40, into, generator=generator)
delta = 5e-4 * (B * torch.arange(1, 41) ** -0.5) @ A + 2e-4 * torch.randn(out, into, generator=generator)
factorize(Dense(delta[:512, :512]), 32)
begin = time.perf_counter()
found = factorize(Dense(delta), 32)
seconds = time.perf_counter() - begin
best = torch.linalg.svdvals(delta.double())[32:].norm().item() if "--error" in sys.argv else 1.0
print((delta - found.dense()).double().norm().item() / best if "--error" in sys.argv else seconds)
