"""Codes of a few bits, packed into words of 32, and what groups of them stand for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from adapterops.arrays.columns import Columns, kept
from adapterops.arrays.dtypes import BITS
from adapterops.quant.checks import damaged
from adapterops.quant.header import CONFIG
from adapterops.quant.scheme import LONG_NAMES, Part, Read

if TYPE_CHECKING:
    from torch import Tensor

TORCH_NAMES = {**LONG_NAMES, "U8": "uint8", "I32": "int32", "I8": "int8", "I64": "int64"}
WORD = 32


def words(entries: int, bits: int) -> int:
    """Words that so many codes take."""
    return -(-entries * bits // WORD)


def unpacked(packed: Tensor, bits: int) -> Tensor:
    """The codes in rows of words, as uint8: a stream of bits from the lowest on, so that a code may go on in the next
    word.

    Args:
        packed: int32, (rows, n). The last code may be cut off.

    Returns:
        (rows, codes), all that the words hold; what follows the last whole pattern of words is filled up with zeros.

    >>> import torch
    >>> unpacked(torch.tensor([[0x76543210]], dtype=torch.int32), 4).tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7]]
    """
    import torch

    step = math.gcd(WORD, bits)
    count = bits // step  # words after which the pattern comes again
    packed = torch.nn.functional.pad(packed, (0, -packed.shape[1] % count))
    wide = packed.view(len(packed), -1, count).long() & 0xFFFFFFFF
    codes = torch.empty(*wide.shape[:2], WORD // step, dtype=torch.uint8)
    for place in range(WORD // step):
        word, shift = divmod(place * bits, WORD)
        code = wide[..., word] >> shift
        if shift + bits > WORD:
            code |= wide[..., word + 1] << WORD - shift
        codes[..., place] = code & (1 << bits) - 1
    return codes.view(len(packed), -1)


def packed(codes: Tensor, bits: int) -> Tensor:
    """Rows of codes as rows of words: what `unpacked` reads. The last word is filled up with zeros.

    >>> import torch
    >>> codes = torch.arange(32, dtype=torch.uint8).view(2, 16) % 8
    >>> torch.equal(unpacked(packed(codes, 4), 4), codes), packed(codes[:, :11], 3).shape
    (True, torch.Size([2, 2]))
    """
    import torch

    step = math.gcd(WORD, bits)
    each, count = WORD // step, bits // step  # codes and words after which the pattern comes again
    width = words(codes.shape[1], bits)
    missing = -codes.shape[1] % each
    wide = torch.nn.functional.pad(codes, (0, missing)).view(len(codes), -1, each).long()
    found = torch.zeros(*wide.shape[:2], count, dtype=torch.int64)
    for place in range(each):
        word, shift = divmod(place * bits, WORD)
        found[..., word] |= wide[..., place] << shift & 0xFFFFFFFF
        if shift + bits > WORD:
            found[..., word + 1] |= wide[..., place] >> WORD - shift
    found = torch.where(found > 0x7FFFFFFF, found - (1 << WORD), found)
    return found.view(len(codes), -1)[:, :width].to(torch.int32)


def whole(part: Part, read: Read, role: str) -> Tensor:
    """All of a part, in its dtype and shape."""
    import torch

    data = read(role, 0, math.prod(part.shape) * BITS[part.dtype] // 8)
    return data.view(getattr(torch, TORCH_NAMES[part.dtype])).view(part.shape)


def rows(part: Part, read: Read, role: str, begin: int, end: int) -> Tensor:
    """Rows [begin, end) of a part that is a matrix, in its dtype."""
    import torch

    size = part.shape[1] * BITS[part.dtype] // 8
    data = read(role, begin * size, end * size)
    return data.view(getattr(torch, TORCH_NAMES[part.dtype])).view(end - begin, part.shape[1])


def columns(part: Part, read: Read, role: str, begin: int, end: int, offset: int = 0) -> Tensor:
    """Columns [begin, end) of a part that is a matrix, or of one in it from byte `offset` on, in its dtype; not to be written
    to.

    What a thread reads in bands of `Columns` is kept until it reads other parts, or its work ends.
    """
    import torch

    size, height = BITS[part.dtype] // 8, part.shape[0]
    found = kept(
        (role, read, offset),
        lambda: Columns(
            lambda first, last: read(role, offset + first, offset + last).numpy(), height, part.shape[1] * size
        ),
    )
    data, dtype = found(begin * size, end * size), getattr(torch, TORCH_NAMES[part.dtype])
    return torch.from_numpy(data.copy()).view(dtype) if data.size else torch.empty(height, end - begin, dtype=dtype)


def streamed(part: Part, read: Read, role: str, span: tuple[int, int], bits: int) -> Tensor:
    """Codes [begin, end) of each row of a part, whose rows are streams of codes."""
    begin, end = span
    first, last = begin // WORD * bits, min(-(-end // WORD) * bits, part.shape[1])  # words that begin with a code
    start = begin - begin // WORD * WORD
    return unpacked(columns(part, read, role, first, last), bits)[:, start : start + end - begin]


def group_size(bits: Any, size: Any, into: int, *, whole: bool = True) -> int:
    """The number of columns that share a scale.

    Raises:
        InputError: the config does not say a number, or `into` is no multiple of it where groups are `whole`.
    """
    if type(bits) is not int or type(size) is not int or size <= 0 or (whole and into % size):
        expected = f"whole numbers{f', and groups that divide {into}' if whole else ''}"
        raise damaged(f"is in {bits!r} bits and groups of {size!r} by the {CONFIG}, expected {expected}")
    return size
