"""Floats in 4 bits (E2M1), two in a byte, the low half first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.quant.grid import CodeScheme
from adapterops.quant.scheme import Read

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""By code: a sign, two bits of exponent, one of mantissa."""


def floats(scheme: CodeScheme) -> Tensor:
    """`numbers` of these floats."""
    import torch

    return torch.tensor(NUMBERS)


def halves(stored: Tensor) -> Tensor:
    """The codes in bytes, (n) → (2 n).

    >>> import torch
    >>> halves(torch.tensor([0x21, 0x43], dtype=torch.uint8)).tolist()
    [1, 2, 3, 4]
    """
    import torch

    return torch.stack([stored & 15, stored >> 4], dim=1).view(-1)


def in_bytes(codes: Tensor) -> Tensor:
    """What `halves` takes apart.

    >>> import torch
    >>> [hex(byte) for byte in in_bytes(torch.tensor([1, 2, 3, 4], dtype=torch.uint8))]
    ['0x21', '0x43']
    """
    pairs = codes.reshape(-1, 2)
    return pairs[:, 0] | pairs[:, 1] << 4


def decoded_floats(scheme: CodeScheme, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
    """`decode` of these floats without zero points: number[code] · scale in rows [begin, end), in float32."""
    codes = scheme.codes(shape, read, begin, end).int()
    return scheme.numbers()[codes].mul_(scheme.scales(shape, read, begin, end)[0])
