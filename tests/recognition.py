"""Headers of small models in memory, and what is recognised in them."""

from __future__ import annotations

from typing import Any

import torch
from codes import encode, normal, raw
from torch import Tensor

from adapterops.formats.models.quantized import Weight, quantized
from adapterops.quant.header import key
from adapterops.quant.scheme import Writable
from adapterops.storage.tensors import Spec

SHORT = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e8m0fnu: "F8_E8M0",
}
NAME = "model.layers.0.mlp.up_proj.weight"
SHAPE = (6, 96)
INTEGERS = torch.ones(4, 4, dtype=torch.int32)

Tensors = dict[str, Tensor]


def specs(tensors: Tensors) -> dict[str, Spec]:
    return {name: Spec(SHORT[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}


def recognised(tensors: Tensors, **config: Any) -> tuple[dict[str, Weight], list[str]]:
    return quantized(specs(tensors), config, lambda name: raw(tensors[name]).numpy().tobytes())


def laid(scheme: Writable, name: str = NAME, shape: tuple[int, int] = SHAPE) -> Tensors:
    """The tensors that a weight is stored as."""
    found = encode(scheme.encoder(shape), normal(0, *shape))
    return {key(name, role): found[role].view(part.shape) for role, part in scheme.parts(shape).items()}


def absent(tensors: Tensors, role: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != key(NAME, role)}


def other(tensors: Tensors, role: str, tensor: Tensor) -> Tensors:
    return {**tensors, key(NAME, role): tensor}
