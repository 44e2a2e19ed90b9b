"""One weight, 4096 x 14336, on all cores: `own_quantize.py quantize|dequantize|fuse`. Prints the seconds of the best of ten."""

import sys
import threading
import time

import torch

from adapterops.arrays.scratch import scratch
from adapterops.engine import local
from adapterops.engine.process import tune
from adapterops.quant.fourbit import FourBit
from adapterops.quant.scheme import Encoder

SHAPE, RANK = (4096, 14336), 16
ROWS = 36
"""Half a million entries at a time, as checkpoints are saved."""

tune()  # as the command does
scheme, workers = FourBit(), threading.local()
generator = torch.Generator().manual_seed(0)
W = torch.randn(SHAPE, generator=generator).mul_(0.02).bfloat16()
B, A = torch.randn(SHAPE[0], RANK, generator=generator) * 1e-3, torch.randn(RANK, SHAPE[1], generator=generator)
blocks = [(begin, min(begin + ROWS, SHAPE[0])) for begin in range(0, SHAPE[0], ROWS)]
result = torch.empty(SHAPE, dtype=torch.bfloat16)
parts: dict[str, torch.Tensor] = {}


def read(role: str, begin: int, end: int) -> torch.Tensor:
    return parts[role].view(torch.uint8)[begin:end]


def encoder() -> Encoder:
    """One for each worker, as there is one for each weight that is saved."""
    if not hasattr(workers, "encoder"):
        workers.encoder = scheme.encoder(SHAPE)
    found: Encoder = workers.encoder
    return found


def quantize(block: tuple[int, int]) -> dict[str, torch.Tensor]:
    part = W[slice(*block)]
    return dict(encoder().rows(scratch()("W", part.shape, torch.float32).copy_(part), block[0])[0])


def dequantize(block: tuple[int, int]) -> None:
    result[slice(*block)] = scheme.decode(SHAPE, read, *block)


def fuse(block: tuple[int, int]) -> dict[str, torch.Tensor]:
    base = scheme.decode(SHAPE, read, *block)
    total = scratch()("sum", base.shape, torch.float32).copy_(base)
    return dict(encoder().rows(total.addmm_(B[slice(*block)], A), block[0])[0])


coded = list(local.run(quantize, blocks))
parts = {role: torch.cat([part[role] for part in coded]) for role in ("weight", "weight.absmax")}
work = {"quantize": quantize, "dequantize": dequantize, "fuse": fuse}[sys.argv[1]]
seconds = []
for _ in range(10):
    begin = time.perf_counter()
    list(local.run(work, blocks))
    seconds.append(time.perf_counter() - begin)
print(min(seconds))
