"""An 8B-shaped model's weights to NF4 in the memory of a GPU: `own_gpu.py copy|ours|bitsandbytes [LAYERS]`.

Prints the seconds of the best of five; of `copy` those of reading and writing the 16-bit weights once.
"""

import sys
import time

import torch
from bitsandbytes import functional

from adapterops.quant.fourbit import FourBit

LAYER = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), (14336, 4096), (14336, 4096), (4096, 14336)]
layers = int(sys.argv[2]) if len(sys.argv) > 2 else 32
generator = torch.Generator("cuda").manual_seed(0)
weights = [
    torch.randn(shape, generator=generator, device="cuda", dtype=torch.bfloat16)
    for _ in range(layers)
    for shape in LAYER
]


def copy() -> None:
    for weight in weights:
        weight.clone()


def ours() -> None:
    for weight in weights:
        FourBit().encoder(tuple(weight.shape)).rows(weight.float(), 0)


def bitsandbytes() -> None:
    for weight in weights:
        functional.quantize_4bit(weight, quant_type="nf4")


work = {"copy": copy, "ours": ours, "bitsandbytes": bitsandbytes}[sys.argv[1]]
seconds = []
for _ in range(5):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    seconds.append(time.perf_counter() - begin)
print(min(seconds))
