"""Weights of all kinds, and their way into codes and back, without files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from adapterops.quant.fourbit import FourBit
from adapterops.quant.scheme import Encoder, Scheme

Parts = Mapping[str, Tensor]

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
KINDS = st.sampled_from(["nf4", "fp4"])
SHORT_BLOCKS = st.sampled_from([32, 64, 128, 256])
SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-45, -1e-42, 1e-38, -9e-39, 6e-8, 3e38, -3.4e38, 65504.0)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def weights(draw: st.DrawFn, dtypes: tuple[str, ...] = tuple(DTYPES), largest: float = 3.4e38) -> Tensor:
    """A matrix of a few rows: of blocks that are ordinary, zero, tiny or huge, with single numbers that are special."""
    height, width = draw(
        st.sampled_from([(1, 1), (1, 64), (3, 64), (5, 96), (7, 33), (2, 200), (9, 13), (4, 128), (1, 257), (64, 3)])
    )
    dtype = DTYPES[draw(st.sampled_from(dtypes))]
    most = min(largest, torch.finfo(dtype).max)
    seed = draw(st.integers(0, 10**6))
    flat = normal(seed, height * width)
    piece = draw(st.sampled_from([16, 64, 100]))
    for begin in range(0, len(flat), piece):
        flat[begin : begin + piece] *= draw(st.sampled_from([1.0, 1.0, 0.02, 0.0, 1e-30, 1e-38, 1e-44, 1e4, 1e37]))
    for place, number in draw(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(SPECIAL)), max_size=4)):
        flat[place % len(flat)] = number
    return flat.view(height, width).clamp(-most, most).to(dtype)


class Reader:
    """Parts, as if they lay in a file."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def __call__(self, role: str, begin: int, end: int) -> Tensor:
        data = raw(self.parts[role])
        assert 0 <= begin <= end <= len(data)
        return data[begin:end].clone()


reader = Reader


def encode(encoder: Encoder, W: Tensor, rows: int | None = None) -> dict[str, Tensor]:
    """The parts of a weight, `rows` rows of it at a time.
    On a grid that is there already, other parts stay what they are.
    """
    pieces: dict[str, list[Tensor]] = {}
    for begin in range(0, len(W), rows or len(W)):
        for role, piece in encoder.written(encoder.rows(W[begin : begin + (rows or len(W))].float(), begin)[0]).items():
            pieces.setdefault(role, []).append(piece)
    inner = getattr(encoder, "inner", encoder)
    there = inner.read.parts if isinstance(getattr(inner, "read", None), Reader) else {}
    return {**there, **{role: torch.cat(each) for role, each in pieces.items()}, **encoder.rest()}


def decode(scheme: Scheme, shape: tuple[int, ...], parts: Parts) -> Tensor:
    return scheme.decode(shape, reader(parts), 0, shape[0]).clone()


def raw(part: Tensor) -> Tensor:
    """Its bytes."""
    return part.contiguous().reshape(-1).view(torch.uint8)


def same(a: Parts, b: Parts) -> bool:
    return a.keys() == b.keys() and all(torch.equal(raw(a[role]), raw(b[role])) for role in a)


def unpacked(parts: Parts, entries: int) -> Tensor:
    """The codes of four bits, one a byte: the first is in the high half."""
    packed = raw(parts["weight"])
    return torch.stack([packed // 16, packed % 16], dim=1).view(-1)[:entries]


def formula(scheme: FourBit, shape: tuple[int, ...], parts: Parts) -> Tensor:
    """codebook[code] · absmax, number by number, in float32, rounded once;
    absmax from its own codes where it is nested.
    """
    entries = math.prod(shape)
    block = torch.arange(entries) // scheme.block_size
    absmax = parts["weight.absmax"]
    if scheme.nested:
        offset = json.loads(bytes(parts[scheme.state_role]))["nested_offset"]
        of = torch.arange(len(absmax)) // 256
        absmax = parts["weight.nested_quant_map"][absmax.long()] * parts["weight.nested_absmax"][of] + torch.tensor(
            offset
        )
    values = parts["weight.quant_map"][unpacked(parts, entries).long()] * absmax[block]
    return values.view(shape).to(DTYPES[scheme.dtype])


def opened(scheme: FourBit, parts: Parts) -> FourBit:
    """As it is when it is read from files: with the offset that the JSON says."""
    return replace(scheme, offset=json.loads(bytes(parts[scheme.state_role])).get("nested_offset", 0.0))
