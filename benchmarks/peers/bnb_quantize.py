"""The same with bitsandbytes, in its own threads: `bnb_quantize.py quantize|dequantize|fuse`."""

import sys
import time

import torch
from bitsandbytes import functional

SHAPE, RANK = (4096, 14336), 16
generator = torch.Generator().manual_seed(0)
W = torch.randn(SHAPE, generator=generator).mul_(0.02).bfloat16()
B, A = torch.randn(SHAPE[0], RANK, generator=generator) * 1e-3, torch.randn(RANK, SHAPE[1], generator=generator)
codes, state = functional.quantize_4bit(W, quant_type="nf4")


def fuse() -> None:
    functional.quantize_4bit(functional.dequantize_4bit(codes, state) + B @ A, quant_type="nf4")


work = {
    "quantize": lambda: functional.quantize_4bit(W, quant_type="nf4"),
    "dequantize": lambda: functional.dequantize_4bit(codes, state),
    "fuse": fuse,
}[sys.argv[1]]
seconds = []
for _ in range(10):
    begin = time.perf_counter()
    work()
    seconds.append(time.perf_counter() - begin)
print(min(seconds))
