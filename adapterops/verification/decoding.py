"""What codes stand for, by formulas of this room's own, in float64: nothing of `quant` but what it reads from headers.

Slow and plain. Every formula is one line of the table in docs/quantized.md. `FORMULAS` has one for each scheme of ours; one of
another package is taken for what it decodes to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from adapterops.arrays.ggml import BLOCKS
from adapterops.checkpoints.stored import StoredTensor
from adapterops.storage.tensors import Spec
from adapterops.verification.ggml import TERMS, Terms, terms
from adapterops.verification.grids import GRIDS, Grid
from adapterops.verification.numbers import Decoder, floats, plain, raw
from adapterops.verification.rounding import Matrix, rounded_to

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
FP4 = tuple(sign * n / 12 for sign in (1, -1) for n in (0, 0.0625, 8, 12, 4, 6, 2, 3))
NESTED = 256


def as_seen(rows: Decoder, spec: Spec, shape: tuple[int, int] | None) -> Decoder:
    """Rows of a tensor as a matrix of another shape, where one is given; all of it is read for each."""
    return rows if shape is None else lambda begin, end: rows(0, spec.matrix[0]).reshape(shape)[begin:end]


def decoder(stored: StoredTensor, *, rounded: bool = False) -> Decoder:
    """What decodes a tensor.

    Args:
        rounded: NF4 and FP4 to the dtype of their state, as bitsandbytes does when a model computes with them.
    """
    scheme: Any = stored.scheme
    if scheme is None:
        return lambda begin, end: plain(stored, begin, end)
    transposed = hasattr(scheme, "scheme")
    scheme = scheme.scheme if transposed else scheme
    shape = stored.shape[::-1] if transposed else stored.shape
    rows = FORMULAS.get(scheme.name, _by_itself)(stored, scheme, shape)
    if rounded and scheme.name in ("nf4", "fp4"):
        exact = rows

        def rows(begin: int, end: int) -> Matrix:
            return rounded_to(exact(begin, end).astype(np.float32).astype(np.float64), scheme.dtype)

    return (lambda begin, end: rows(0, shape[0]).T[begin:end]) if transposed else rows


def grid(stored: StoredTensor) -> Grid | None:
    """What entries are made of, in rows as they are stored; None for a scheme that has no number and scale for each."""
    scheme: Any = stored.scheme
    own: Any = getattr(scheme, "scheme", scheme)
    if own is None or own.name not in GRIDS:
        return None
    return GRIDS[own.name](stored, own, stored.shape if own is scheme else stored.shape[::-1])


def codes4(stored: StoredTensor, begin: int, end: int) -> Matrix:
    """The codes of flat entries [begin, end), where `begin` is even: the first of a byte is its high half."""
    data = raw(stored, "weight", begin // 2, (end + 1) // 2)
    return np.stack([data >> 4, data & 15], axis=1).reshape(-1)[: end - begin]


def absmax4(stored: StoredTensor, scheme: Any, first: int, last: int) -> Matrix:
    """The scales of blocks [first, last); nested, map[code] · nested_absmax + offset, in float32 as bitsandbytes has it."""
    if not scheme.nested:
        return floats(raw(stored, "weight.absmax", 4 * first, 4 * last), "F32")
    numbers, scales = (raw(stored, f"weight.nested_{role}").view(np.float32) for role in ("quant_map", "absmax"))
    codes = raw(stored, "weight.absmax", first, last)
    found: Matrix = numbers[codes] * scales[np.arange(first, last) // NESTED] + np.float32(scheme.offset)
    return found.astype(np.float64)


def book(scheme: Any) -> Matrix:
    """The sixteen numbers of NF4 or FP4, in float32 as they are stored, widened."""
    return np.array(NF4 if scheme.name == "nf4" else FP4, np.float32).astype(np.float64)


def _four_bits(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
    width, size, numbers = shape[-1], scheme.block_size, book(scheme)

    def rows(begin: int, end: int) -> Matrix:
        first, last = begin * width, end * width
        start = first - first % 2
        codes = codes4(stored, start, last)[first - start :]
        absmax = absmax4(stored, scheme, first // size, -(-last // size))
        blocks = np.arange(first, last) // size - first // size
        found: Matrix = (numbers[codes] * absmax[blocks]).reshape(end - begin, width)
        return found

    return rows


def _int8(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
    scales, width = floats(raw(stored, "SCB"), "F32"), shape[-1]

    def rows(begin: int, end: int) -> Matrix:
        codes = raw(stored, "weight", begin * width, end * width).view(np.int8).reshape(-1, width)
        found: Matrix = codes * (scales[begin:end, None] / 127)
        return found

    return rows


Formula: TypeAlias = Callable[[StoredTensor, Any, tuple[int, ...]], Decoder]


def _product(grid: Callable[[StoredTensor, Any, tuple[int, ...]], Grid]) -> Formula:
    def formula(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
        entries = grid(stored, scheme, shape)

        def rows(begin: int, end: int) -> Matrix:
            found = entries(begin, end)
            result: Matrix = found.number * found.scale
            return result

        return rows

    return formula


def blocks(stored: StoredTensor, scheme: Any, begin: int, end: int) -> Terms:
    """What rows of a GGUF tensor are made of."""
    row = stored.parts[""].spec.bytes // (stored.parts[""].spec.matrix[0])
    return terms(raw(stored, "", begin * row, end * row), scheme.name, end - begin)


def _ggml(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
    def rows(begin: int, end: int) -> Matrix:
        found = blocks(stored, scheme, begin, end)
        return found.step * found.code - found.below

    return rows


def _by_library(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
    """What the library that owns the format makes of types that it has tables for."""

    def rows(begin: int, end: int) -> Matrix:
        import gguf

        row = stored.parts[""].spec.bytes // stored.parts[""].spec.matrix[0]
        data = raw(stored, "", begin * row, end * row).reshape(end - begin, row)
        found: Matrix = gguf.dequantize(data, gguf.GGMLQuantizationType[scheme.name]).astype(np.float64)
        return found

    return rows


def _by_itself(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
    """What a scheme of another package decodes, whole groups of its rows at a time."""
    height, group = math.prod(shape[:-1]), scheme.granularity(shape)

    def rows(begin: int, end: int) -> Matrix:
        first, last = begin // group * group, min(-(-end // group) * group, height)
        decoded = scheme.decode(shape, stored.read, first, last)[begin - first : end - first]
        found: Matrix = decoded.float().numpy().astype(np.float64)
        return found

    return rows


def _one_added(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Decoder:
    return lambda begin, end: plain(stored, begin, end) - 1


FORMULAS: Mapping[str, Formula] = {
    **{kind.name: _by_library for kind in BLOCKS.values() if kind.name not in TERMS},
    **dict.fromkeys(TERMS, _ggml),
    "one-added": _one_added,
    **dict.fromkeys(("nf4", "fp4"), _four_bits),
    "int8": _int8,
    **{name: _product(grid) for name, grid in GRIDS.items()},
}
