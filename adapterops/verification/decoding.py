"""What codes stand for, by formulas of this room's own, in float64: nothing of `quant` but what it reads from headers.

Slow and plain. Every formula is one line of the table in docs/quantized.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from adapterops.arrays.columns import Columns
from adapterops.arrays.dtypes import BITS
from adapterops.arrays.ggml import BLOCKS
from adapterops.checkpoints.stored import StoredTensor
from adapterops.storage.tensors import Spec
from adapterops.verification.ggml import TERMS, Terms, terms
from adapterops.verification.rounding import Matrix, rounded_to

Decoder: TypeAlias = Callable[[int, int], Matrix]
"""Rows [begin, end) in float64."""


class Entries(NamedTuple):
    """Of some rows the number that each code stands for, how far the next lower and the next higher number are, 0 where
    there is none, and the scale: the value is number · scale.
    """

    number: Matrix
    down: Matrix
    up: Matrix
    scale: Matrix


Grid: TypeAlias = Callable[[int, int], Entries]

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
FP4 = tuple(sign * n / 12 for sign in (1, -1) for n in (0, 0.0625, 8, 12, 4, 6, 2, 3))
E2M1 = tuple(sign * n for sign in (1, -1) for n in (0, 0.5, 1, 1.5, 2, 3, 4, 6))
AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
WORD = 32
NESTED = 256


def as_seen(rows: Decoder | None, spec: Spec, shape: tuple[int, int] | None) -> Decoder | None:
    """Rows of a tensor as a matrix of another shape; all of it is read for each."""
    if rows is None or shape is None:
        return rows
    matrix = shape
    return lambda begin, end: rows(0, spec.matrix[0]).reshape(matrix)[begin:end]


def decoder(stored: StoredTensor, *, rounded: bool = False) -> Decoder | None:
    """What decodes a tensor; None for a scheme of another package, which this room has no formula for.

    Args:
        rounded: NF4 and FP4 to the dtype of their state, as bitsandbytes does when a model computes with them.
    """
    scheme: Any = stored.scheme
    if scheme is None:
        return lambda begin, end: plain(stored, begin, end)
    transposed = hasattr(scheme, "scheme")
    scheme = scheme.scheme if transposed else scheme
    shape = stored.shape[::-1] if transposed else stored.shape
    if scheme.name not in FORMULAS:
        return None
    rows = FORMULAS[scheme.name](stored, scheme, shape)
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


def plain(stored: StoredTensor, begin: int, end: int) -> Matrix:
    """Rows of a tensor of floats."""
    part = stored.parts[""]
    found = part.file.array(part.name, (begin, end))
    if part.spec.dtype == "BF16":
        found = (found.astype(np.uint32) << 16).view(np.float32)
    return found.astype(np.float64)


def raw(stored: StoredTensor, role: str, begin: int = 0, end: int | None = None) -> Matrix:
    """Bytes of a part."""
    part = stored.parts[role]
    return np.frombuffer(part.file.read(part.name, begin, part.spec.bytes if end is None else end), np.uint8)


def floats(data: Matrix, dtype: str) -> Matrix:
    """Bytes as the floats they are, in float64."""
    if dtype == "BF16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if dtype in ("U8", "F8_E8M0"):
        return np.where(data == 255, np.nan, np.ldexp(1.0, data.astype(np.int32) - 127))
    if dtype.startswith("F8"):
        return _table(dtype)[data]
    return data.view({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]).astype(np.float64)


@cache
def _table(dtype: str) -> Matrix:
    """The 256 numbers of a float in 8 bits: E4M3 has no infinity, and NaN where all bits are set."""
    exponent_bits, bias = (4, 7) if dtype == "F8_E4M3" else (5, 15)
    fraction_bits = 7 - exponent_bits
    found = []
    for byte in range(256):
        exponent, fraction = (byte & 127) >> fraction_bits, byte & ((1 << fraction_bits) - 1)
        unit = fraction / (1 << fraction_bits)
        size = (1 + unit) * 2.0 ** (exponent - bias) if exponent else unit * 2.0 ** (1 - bias)
        if dtype == "F8_E4M3" and byte & 127 == 127:
            size = np.nan
        elif dtype != "F8_E4M3" and exponent == 31:
            size = np.nan if fraction else np.inf
        found.append(-size if byte > 127 else size)
    return np.array(found)


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


def _of_table(table: Matrix, codes: Matrix, scale: Matrix) -> Entries:
    """Codes of numbers in a table, in which some may stand for none."""
    numbers = np.unique(table[np.isfinite(table)])
    number = table[codes]
    place = np.searchsorted(numbers, np.nan_to_num(number))
    last = len(numbers) - 1
    down, up = (np.abs(number - numbers[np.clip(place + step, 0, last)]) for step in (-1, 1))
    return Entries(number, down, up, scale)


def _fp8(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    width, (high, wide) = shape[-1], scheme.block
    across, size = -(-width // wide), BITS[scheme.scale] // 8

    def of_blocks(data: Matrix, begin: int, end: int) -> Matrix:
        """What a part has for each block, for every entry."""
        every = data.reshape(-1, across)[:, np.arange(width) // wide]
        found: Matrix = every[np.arange(begin, end) // high - begin // high]
        return found

    def rows(begin: int, end: int) -> Entries:
        first, last = begin // high * across, -(-end // high) * across
        codes = raw(stored, "weight", begin * width, end * width).reshape(-1, width)
        scales = floats(raw(stored, scheme.role, first * size, last * size), scheme.scale)
        found = _of_table(_bytes(scheme), codes, of_blocks(scales, begin, end))
        if not scheme.zero:
            return found
        data = raw(stored, "weight_zero_point", first, last)
        zeros = _table(scheme.zero)[data] if scheme.zero != "I8" else data.view(np.int8).astype(np.float64)
        return found._replace(number=found.number - of_blocks(zeros, begin, end))

    return rows


def _bytes(scheme: Any) -> Matrix:
    """What the 256 bytes stand for: floats, or integers, of which a short one has no more than its bits hold."""
    if scheme.stored != "I8":
        return _table(scheme.stored)
    numbers = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
    half = 2 ** (scheme.width - 1)
    return np.where((numbers >= -half) & (numbers < half), numbers, np.nan)


def _mxfp4(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    """Of every expert (out, in) is stored, and its transpose is what is used."""
    into, out = shape[1:]
    each = out * into // 2

    @lru_cache(1)
    def parts_of(expert: int) -> tuple[Columns, Columns]:
        codes = _inside(stored, "_blocks", expert * each, out, into // 2)
        return codes, _inside(stored, "_scales", expert * each // 16, out, into // 32)

    def rows(begin: int, end: int) -> Entries:
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

    def rows(begin: int, end: int) -> Entries:
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

    def rows(begin: int, end: int) -> Entries:
        scales = floats(raw(stored, "weight_scale", begin * across, end * across), "U8").reshape(-1, across)
        data = raw(stored, "weight_packed", begin * width // 2, end * width // 2)
        found = np.stack([data & 15, data >> 4], axis=1).reshape(-1, width)
        return _of_table(np.array(E2M1), found, np.repeat(scales, 32, axis=1)[:, :width])

    return rows


def stream(data: Matrix, bits: int) -> Matrix:
    """Rows of bytes as codes of so many bits, from the lowest bit on; a code may go on in the next byte."""
    every = np.unpackbits(data, axis=1, bitorder="little")
    spread = every[:, : every.shape[1] // bits * bits].reshape(len(data), -1, bits)
    codes: Matrix = np.packbits(spread, axis=2, bitorder="little")[..., 0]
    return codes


def _stream_of(stored: StoredTensor, role: str, groups: int, bits: int) -> Decoder:
    """Codes [begin, end) of a part with a row of words for each group, as (codes, groups)."""
    columns = _columns(stored, role, groups)

    def codes(begin: int, end: int) -> Matrix:
        first, last = begin // WORD * WORD, -(-end // WORD) * WORD  # where codes begin with a word
        data = np.ascontiguousarray(columns(first * bits // 8, min(last * bits // 8, columns.width)))
        found: Matrix = stream(data, bits)[:, begin - first : end - first].T
        return found

    return codes


def _columns(stored: StoredTensor, role: str, height: int) -> Columns:
    """A part with so many rows, by its columns."""
    return _inside(stored, role, 0, height, stored.parts[role].spec.bytes // height)


def _inside(stored: StoredTensor, role: str, first: int, height: int, width: int) -> Columns:
    """A matrix of bytes that begins at the byte `first` of a part, by its columns."""
    return Columns(lambda begin, end: raw(stored, role, first + begin, first + end), height, width)


def _floats_of(stored: StoredTensor, role: str, groups: int, dtype: str) -> Decoder:
    """Scales [begin, end) of a part with a row for each group, as (scales, groups)."""
    columns, size = _columns(stored, role, groups), BITS[dtype] // 8

    def scales(begin: int, end: int) -> Matrix:
        data = np.ascontiguousarray(columns(begin * size, end * size))
        found: Matrix = floats(data.ravel(), dtype).reshape(groups, -1).T
        return found

    return scales


def _integers(width: int, codes: Decoder, zeros: Decoder | int, scales: Decoder, group: Matrix) -> Grid:
    """(code[i, j] - zero[i, group[j]]) · scale[i, group[j]], for codes of so many bits, of some rows."""

    def rows(begin: int, end: int) -> Entries:
        zero = zeros if isinstance(zeros, int) else zeros(begin, end)[:, group].astype(np.float64)
        code = codes(begin, end).astype(np.float64)
        down, up = (code > 0).astype(np.float64), (code < (1 << width) - 1).astype(np.float64)
        return Entries(code - zero, down, up, scales(begin, end)[:, group])

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

    codes = placed(_stream_of(stored, "qweight", into, 4))
    zeros = 8 if scheme.symmetric else placed(_stream_of(stored, "qzeros", groups, 4))
    scales = _floats_of(stored, "scales", groups, scheme.scale)
    return _integers(4, codes, zeros, scales, np.arange(into) // scheme.group)


def _gptq(stored: StoredTensor, scheme: Any, shape: tuple[int, ...]) -> Grid:
    into = shape[1]
    columns = _columns(stored, "qweight", stored.parts["qweight"].spec.shape[0])
    groups = stored.parts["scales"].spec.shape[0]
    stored_zeros = _stream_of(stored, "qzeros", groups, scheme.width)

    def codes(begin: int, end: int) -> Matrix:
        words = np.ascontiguousarray(columns(4 * begin, 4 * end)).view("<u4").T
        return stream(np.ascontiguousarray(words).view(np.uint8), scheme.width)[:, :into]

    def zeros(begin: int, end: int) -> Matrix:
        found: Matrix = (stored_zeros(begin, end).astype(np.int64) + scheme.offset) % (1 << scheme.width)
        return found

    group = raw(stored, "g_idx").view("<i4") if scheme.ordered else np.arange(into) // scheme.group
    return _integers(scheme.width, codes, zeros, _floats_of(stored, "scales", groups, scheme.scale), group)


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


Formula: TypeAlias = Callable[[StoredTensor, Any, tuple[int, ...]], Decoder]
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
