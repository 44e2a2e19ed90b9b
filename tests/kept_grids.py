"""Weights of the schemes whose grid is kept, in codes and scales at random, without files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from codes import reader
from torch import Tensor

from adapterops.quant.awq import AWQ
from adapterops.quant.compressed import CompressedTensors
from adapterops.quant.fp8 import FP8
from adapterops.quant.gptq import GPTQ
from adapterops.quant.mxfp4 import MXFP4
from adapterops.quant.mxfp4_rows import MXFP4Rows
from adapterops.quant.nvfp4 import NVFP4

OUT, INTO = 64, 96
FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn}
KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "fp8 in blocks": (FP8((48, 32), "weight_scale_inv", "F8_E4M3", "F32", (2, 3)), (OUT, INTO)),
    "fp8 by row": (FP8((1, INTO), "weight_scale", "F8_E4M3", "BF16", (OUT, 1)), (OUT, INTO)),
    "fp8 with one scale": (FP8((OUT, INTO), "weight_scale", "F8_E5M2", "F32", (1,)), (OUT, INTO)),
    "fp8 with powers of two": (FP8((32, 32), "weight_scale_inv", "F8_E4M3", "U8", (2, 3)), (OUT, INTO)),
    "int8 by row": (FP8((1, INTO), "weight_scale", "I8", "F32", (OUT, 1)), (OUT, INTO)),
    "int4 in bytes, by row": (FP8((1, INTO), "weight_scale", "I8", "F32", (OUT, 1), width=4), (OUT, INTO)),
    "mxfp4": (MXFP4(), (2, OUT, 32)),
    "nvfp4 of modelopt": (NVFP4("weight_scale_2"), (OUT, INTO)),
    "nvfp4 of compressed-tensors": (NVFP4("weight_global_scale", (1,)), (OUT, INTO)),
    "gptq of 4 bits": (GPTQ(4, 32), (OUT, INTO)),
    "gptq of 3 bits": (GPTQ(3, 32, ordered=False, offset=0), (OUT, INTO)),
    "awq": (AWQ(32, symmetric=False), (OUT, INTO)),
    "awq without zeros": (AWQ(32, symmetric=True), (OUT, INTO)),
    "packed in 4 bits": (CompressedTensors(4, 32, symmetric=True), (OUT, INTO)),
    "packed in 8 bits with zeros": (CompressedTensors(8, 32, symmetric=False), (OUT, INTO)),
    "packed in 6 bits, one scale": (CompressedTensors(6, INTO, symmetric=True, one=True), (OUT, INTO)),
    "mxfp4 by row": (MXFP4Rows(), (OUT, INTO)),
    "gptq, last group cut off": (GPTQ(4, 64, ordered=False), (OUT, INTO)),
}


def stored(scheme: Any, shape: tuple[int, ...], seed: int = 0) -> dict[str, Tensor]:
    """Codes at random, but no extreme ones of floats, with scales near one and zeros in the middle."""
    random = np.random.default_rng(seed)
    numbers = scheme.numbers()
    usable = [code for code, number in enumerate(numbers.tolist()) if math.isfinite(number) and abs(number) <= 256]
    height = math.prod(shape[:-1])
    codes = torch.from_numpy(random.choice(np.array(usable, np.uint8), (height, shape[-1])))
    found = dict(scheme.on_grid(shape, reader({}), "").written(scheme.encoded_parts(shape, codes, reader({}), 0)))
    for role, part in scheme.parts(shape).items():
        if role in found:
            continue
        if role == "g_idx":
            found[role] = torch.from_numpy(random.permutation(INTO) // scheme.group).int()
        elif part.dtype == "I32":
            found[role] = torch.full(part.shape, 0x77777777, dtype=torch.int32)
        elif part.dtype == "I64":
            found[role] = torch.tensor(shape)
        elif part.dtype == "U8":
            found[role] = torch.from_numpy(random.integers(120, 125, part.shape, dtype=np.uint8))
        else:
            numbers_ = torch.from_numpy(random.random(part.shape).astype(np.float32)) + 0.5
            found[role] = numbers_.to(FLOATS[part.dtype])
    return found
