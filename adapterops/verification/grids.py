"""Codes on a grid: of each entry its number, the next numbers on both sides, and the scale; the value is number · scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from adapterops.arrays.columns import Columns
from adapterops.arrays.dtypes import BITS
from adapterops.checkpoints.stored import StoredTensor
from adapterops.verification.numbers import (
    WORD,
    Decoder,
    columns,
    columns_inside,
    eight_bits,
    floats,
    floats_of,
    raw,
    stream,
    stream_of,
)
from adapterops.verification.rounding import Matrix

E2M1 = tuple(sign * n for sign in (1, -1) for n in (0, 0.5, 1, 1.5, 2, 3, 4, 6))
AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)


class GridRows(NamedTuple):
    """Of some rows the number that each code stands for, how far the next lower and the next higher number are, 0 where
    there is none, and the scale: the value is number · scale.
    """

    number: Matrix
    down: Matrix
    up: Matrix
    scale: Matrix


Grid: TypeAlias = Callable[[int, int], GridRows]


def _of_table(table: Matrix, codes: Matrix, scale: Matrix) -> GridRows:
    """Codes of numbers in a table, in which some may stand for none."""
    numbers = np.unique(table[np.isfinite(table)])
    number = table[codes]
    place = np.searchsorted(numbers, np.nan_to_num(number))
    last = len(numbers) - 1
    down, up = (np.abs(number - numbers[np.clip(place + step, 0, last)]) for step in (-1, 1))
    return GridRows(number, down, up, scale)


def _fp8(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    high, wide = scheme.block
    width = shape[-1] if scheme.role else wide
    across, size = -(-width // wide), BITS[scheme.scale] // 8 if scheme.role else 0

    def of_blocks(data: Matrix, begin: int, end: int) -> Matrix:
        """What a part has for each block, for every entry."""
        every = data.reshape(-1, across)[:, np.arange(width) // wide]
        found: Matrix = every[np.arange(begin, end) // high - begin // high]
        return found

    def rows(begin: int, end: int) -> GridRows:
        first, last = begin // high * across, -(-end // high) * across
        codes = raw(stored, "weight", begin * width, end * width).reshape(-1, width)
        scales = np.ones(last - first)
        if scheme.role:
            scales = floats(raw(stored, scheme.role, first * size, last * size), scheme.scale)
        found = _of_table(_bytes(scheme), codes, of_blocks(scales, begin, end))
        if not scheme.zero:
            return found
        data = raw(stored, "weight_zero_point", first, last)
        zeros = eight_bits(scheme.zero)[data] if scheme.zero != "I8" else data.view(np.int8).astype(np.float64)
        return found._replace(number=found.number - of_blocks(zeros, begin, end))

    return rows


def _bytes(scheme: Any) -> Matrix:
    """What the 256 bytes stand for: floats, or integers, of which a short one has no more than its bits hold."""
    if scheme.stored != "I8":
        return eight_bits(scheme.stored)
    numbers = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
    half = 2 ** (scheme.width - 1)
    return np.where((numbers >= -half) & (numbers < half), numbers, np.nan)


def _mxfp4(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    """Of every expert (out, in) is stored, and its transpose is what is used."""
    into, out = shape[1:]
    each = out * into // 2

    @lru_cache(1)
    def parts_of(expert: int) -> tuple[Columns, Columns]:
        codes = columns_inside(stored, "_blocks", expert * each, out, into // 2)
        return codes, columns_inside(stored, "_scales", expert * each // 16, out, into // 32)

    def rows(begin: int, end: int) -> GridRows:
        parts = []
        for expert in range(begin // into, -(-end // into)):
            first, last = (min(max(row - expert * into, 0), into) for row in (begin, end))
            codes, powers = parts_of(expert)
            data = codes(first // 2, -(-last // 2))
            found = np.stack([data & 15, data >> 4], axis=2).reshape(out, -1)[:, first % 2 :][:, : last - first].T
            scales = floats(np.ascontiguousarray(powers(first // 32, -(-last // 32))).ravel(), "U8")
            scales = scales.reshape(out, -1)[:, np.arange(first, last) // 32 - first // 32].T
            parts.append((found, scales))
        found, scales = (np.concatenate(each) for each in zip(*parts, strict=True))
        return _of_table(np.array(E2M1), found, scales)

    return rows


def _nvfp4(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    width = shape[-1]
    inverse = scheme.whole == "weight_global_scale"
    whole = floats(raw(stored, scheme.whole), "F32")[0]
    across = -(-width // 16)

    def rows(begin: int, end: int) -> GridRows:
        scales = floats(raw(stored, "weight_scale", begin * across, end * across), "F8_E4M3").reshape(-1, across)
        scales = scales * (1 / whole if inverse else whole)
        codes = "weight_packed" if inverse else "weight"
        data = raw(stored, codes, begin * width // 2, end * width // 2)
        found = np.stack([data & 15, data >> 4], axis=1).reshape(-1, width)
        return _of_table(np.array(E2M1), found, np.repeat(scales, 16, axis=1)[:, :width])

    return rows


def _mxfp4_rows(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    width = shape[-1]
    across = -(-width // 32)

    def rows(begin: int, end: int) -> GridRows:
        scales = floats(raw(stored, "weight_scale", begin * across, end * across), "U8").reshape(-1, across)
        data = raw(stored, "weight_packed", begin * width // 2, end * width // 2)
        found = np.stack([data & 15, data >> 4], axis=1).reshape(-1, width)
        return _of_table(np.array(E2M1), found, np.repeat(scales, 32, axis=1)[:, :width])

    return rows


def _integers(width: int, codes: Decoder, zeros: Decoder | int, scales: Decoder, group: Matrix) -> Grid:
    """(code[i, j] - zero[i, group[j]]) · scale[i, group[j]], for codes of so many bits, of some rows."""

    def rows(begin: int, end: int) -> GridRows:
        zero = zeros if isinstance(zeros, int) else zeros(begin, end)[:, group].astype(np.float64)
        code = codes(begin, end).astype(np.float64)
        down, up = (code > 0).astype(np.float64), (code < (1 << width) - 1).astype(np.float64)
        return GridRows(code - zero, down, up, scales(begin, end)[:, group])

    return rows


def _awq(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    into, groups = shape[1], stored.parts["scales"].spec.shape[0]

    def placed(words: Decoder) -> Decoder:
        """Codes of a stream in the order of the rows."""

        def codes(begin: int, end: int) -> Matrix:
            first, last = begin // 8 * 8, -(-end // 8) * 8
            found = words(first, last)
            found = found.reshape(-1, 8, found.shape[1])[:, AWQ_PLACES].reshape(found.shape)
            return found[begin - first : end - first]

        return codes

    codes = placed(stream_of(stored, "qweight", into, 4))
    zeros = 8 if scheme.symmetric else placed(stream_of(stored, "qzeros", groups, 4))
    scales = floats_of(stored, "scales", groups, scheme.scale)
    return _integers(4, codes, zeros, scales, np.arange(into) // scheme.group)


def _gptq(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    into = shape[1]
    matrix = columns(stored, "qweight", stored.parts["qweight"].spec.shape[0])
    groups = stored.parts["scales"].spec.shape[0]
    stored_zeros = stream_of(stored, "qzeros", groups, scheme.width)

    def codes(begin: int, end: int) -> Matrix:
        words = np.ascontiguousarray(matrix(4 * begin, 4 * end)).view("<u4").T
        return stream(np.ascontiguousarray(words).view(np.uint8), scheme.width)[:, :into]

    def zeros(begin: int, end: int) -> Matrix:
        found: Matrix = (stored_zeros(begin, end).astype(np.int64) + scheme.offset) % (1 << scheme.width)
        return found

    group = raw(stored, "g_idx").view("<i4") if scheme.ordered else np.arange(into) // scheme.group
    return _integers(scheme.width, codes, zeros, floats_of(stored, "scales", groups, scheme.scale), group)


def _compressed(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    out, into = shape
    half, bits = 1 << (scheme.width - 1), scheme.width
    row, groups = stored.parts["weight_packed"].spec.bytes // out, into // scheme.group
    size = groups * BITS[scheme.scale] // 8

    def codes(begin: int, end: int) -> Matrix:
        return stream(raw(stored, "weight_packed", begin * row, end * row).reshape(-1, row), bits)[:, :into]

    def scales(begin: int, end: int) -> Matrix:
        if scheme.one:
            return np.repeat(floats(raw(stored, "weight_scale"), scheme.scale)[:1, None], end - begin, axis=0)
        data = raw(stored, "weight_scale", begin * size, end * size)
        return floats(data, scheme.scale).reshape(end - begin, groups)

    def in_bytes(begin: int, end: int) -> Matrix:
        data = raw(stored, "weight_zero_point", begin * groups, end * groups)
        found: Matrix = data.view(np.int8).reshape(end - begin, groups).astype(np.int64) + half
        return found

    def in_words(begin: int, end: int) -> Matrix:
        first, last = begin // WORD, -(-end // WORD)  # the words of so many codes begin with a code
        every = stored.parts["weight_zero_point"].spec.bytes
        data = raw(stored, "weight_zero_point", 4 * first * bits * groups, min(4 * last * bits * groups, every))
        words = np.ascontiguousarray(data.view("<u4").reshape(-1, groups).T)
        found: Matrix = stream(words.view(np.uint8), bits)[:, begin - WORD * first : end - WORD * first].T
        return found

    zeros = half if scheme.symmetric else in_bytes if scheme.zero == "I8" else in_words
    group = raw(stored, "weight_g_idx").view("<i4") if scheme.ordered else np.arange(into) // scheme.group
    group = np.arange(into) // scheme.group if (group == -1).any() else group
    return _integers(bits, codes, zeros, scales, group)


GRIDS: Mapping[str, Callable[[StoredTensor, Any, tuple[int, ...]], Grid]] = {
    "fp8": _fp8,
    "int-quantized": _fp8,
    "mxfp4": _mxfp4,
    "nvfp4": _nvfp4,
    "mxfp4-pack-quantized": _mxfp4_rows,
    "awq": _awq,
    "gptq": _gptq,
    "compressed-tensors": _compressed,
}
