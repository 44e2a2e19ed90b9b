"""The numbers of files in numpy: as they are stored, and the wider ones that are computed with.

numpy has no bfloat16: its numbers are carried as their 16 bits, which are the upper half of a float32. float16 is
converted in integers, twice as fast as numpy does it, and thirty times where numbers are small. Where torch has been
imported, for codes, it converts both, which is faster again; the one right answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.device import DeviceArray
from adapterops.arrays.dtypes import CARRIED, FLOATS
from adapterops.arrays.finite import all_finite
from adapterops.arrays.libraries import imported_torch
from adapterops.arrays.scratch import LINE, Scratch
from adapterops.errors import IncompatibleError

if TYPE_CHECKING:
    from torch import Tensor

STORED = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""What an array of stored numbers holds, by safetensors' name of their dtype."""

NAN = 0x7FC0
"""The bfloat16 that stands for all NaNs."""

Array = NDArray[Any]


def wide(dtype: str) -> str:
    """The dtype that numbers are computed with which are stored in another:
    float64 for float64, float32 for all others.
    """
    return "float64" if dtype == "F64" else "float32"


def widened(stored: Array, dtype: str, memory: Scratch) -> Array:
    """Stored numbers as float32, or float64 where they are that, exactly. In scratch memory unless they are already."""
    if stored.dtype == wide(dtype):
        return stored
    result = memory.array("wide", stored.shape, np.float32)
    _convert(stored, result, dtype)
    return result


def narrowed(numbers: Array, dtype: str, memory: Scratch, *, settle: bool = False, nan: bool = True) -> Array:
    """Numbers as they are stored, each rounded once, to nearest, ties to even. In scratch memory unless they are
    already.

    A NaN stays one, with other bits perhaps, unless the caller finds it by itself: then there is no `nan` to look for.

    From float64 to 16 bits by way of float32 they would be rounded twice. Where the first rounding is to odd, the
    second cannot tell (Boldo & Melquiond 2008).

    Args:
        settle: make of the numbers themselves what the stored ones stand for.
    """
    target = STORED[dtype]
    if numbers.dtype == target:
        return numbers
    with np.errstate(all="ignore"):
        single = _to_odd(numbers) if numbers.dtype == np.float64 and dtype in ("F16", "BF16") else numbers
        result = memory.array("narrow", numbers.shape, target)
        if dtype == "F16" and imported_torch() is None:
            _in_pieces(_narrow_float16, single, result)
        elif dtype == "BF16" and imported_torch() is None:
            upper = _to_bfloat16(single, result, memory.array("step", numbers.shape, np.uint32), nan)
            if settle and numbers.dtype == np.float32:
                np.left_shift(upper, 16, out=numbers.view(np.uint32))
                return result
        else:
            _convert(single, result, dtype)
        if settle:
            _convert(result, numbers, dtype)
    return result


HALVES = 1 << 18
"""How many numbers are converted to float16, or from it, at a time: with fewer, threads wait for each other more than they compute."""

LARGEST = 65504
"""Of float16."""


def _to_bfloat16(numbers: Array, result: Array, step: Array, look: bool) -> Array:
    """The stored numbers once more, each in the lower half of 32 bits, in the memory of `step`."""
    nan = np.isnan(numbers) if look and np.isnan(numbers.min(initial=0)) else None  # its bits may run over
    bits = numbers.view(np.uint32)
    np.right_shift(bits, 16, out=step)
    np.bitwise_and(
        step, 1, out=step
    )  # the last bit that stays: just below half a step is added to an even number, half to an odd one
    np.add(step, 0x7FFF, out=step)
    np.add(step, bits, out=step)
    np.right_shift(step, 16, out=step)
    np.copyto(result, step, casting="unsafe")
    if nan is not None:
        result[nan] = step[nan] = NAN
    return step


def _in_pieces(convert: Callable[[Array, Array], None], numbers: Array, result: Array) -> None:
    """Convert some rows at a time."""
    if numbers.flags.c_contiguous and result.flags.c_contiguous:
        numbers, result = numbers.reshape(-1), result.reshape(-1)
    step = max(1, HALVES // max(1, numbers[:1].size))
    for first in range(0, len(numbers), step):
        convert(numbers[first : first + step], result[first : first + step])


def _narrow_float16(numbers: Array, result: Array) -> None:
    """float32 rounded where a float16 ends, its exponent less what the two differ by. Below 2^-14 float16 has steps of 2^-24, as
    float32 has them above one half: there it is a sum that rounds. What is infinite or near to it, numpy rounds.
    """
    bits, size = numbers.view(np.uint32), np.abs(numbers)
    step = bits >> 13
    np.bitwise_and(step, 1, out=step)  # as in `_to_bfloat16`
    np.add(step, 0xFFF - (112 << 23) & 0xFFFFFFFF, out=step)
    np.add(step, bits, out=step)
    np.right_shift(step, 13, out=step)
    endless = None if size.max(initial=0) < LARGEST else ~(size < LARGEST)
    small, found = size < np.float32(2.0**-14), size.view(np.uint32)
    if small.any():
        np.add(size, np.float32(0.5), out=size)
        np.subtract(found, 0x3F000000, out=found)
        np.copyto(step, found, where=small)
    np.bitwise_and(step, 0x7FFF, out=step)
    np.right_shift(bits, 16, out=found)
    np.bitwise_and(found, 0x8000, out=found)
    np.bitwise_or(step, found, out=step)
    np.copyto(result.view(np.uint16), step, casting="unsafe")
    if endless is not None:
        result[endless] = numbers[endless]


def _widen_float16(numbers: Array, result: Array) -> None:
    """The bits in their places, times what the two exponents differ by."""
    bits = result.view(np.int32)
    np.copyto(bits, numbers.view(np.int16))  # the sign goes on to the left
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, ~0x70001FFF, out=bits)
    np.multiply(result, np.float32(2.0**112), out=result)
    if not all_stored_finite(numbers, "F16"):
        bits[~finite(numbers, "F16")] |= 0x7F800000


def _convert(numbers: Array, result: Array, dtype: str) -> None:
    """Numbers to the dtype of `result` as that has them; of the two one is stored in `dtype`.
    By torch, where numpy is slower.
    """
    torch = imported_torch()
    if torch and dtype in ("BF16", "F16"):
        stored = tensor(numbers, dtype) if numbers.dtype == STORED[dtype] else torch.from_numpy(numbers)
        tensor(result, dtype).copy_(stored) if result.dtype == STORED[dtype] else torch.from_numpy(result).copy_(stored)
    elif dtype == "BF16":
        wide = result if result.dtype == np.float32 else np.empty(result.shape, np.float32)
        bits = wide.view(np.uint32)
        np.copyto(bits, numbers)
        np.left_shift(bits, 16, out=bits)  # in two steps: numpy converts faster than it shifts what it has to convert
        if wide is not result:
            np.copyto(result, wide)
    elif numbers.dtype == np.float16 and result.dtype == np.float32:
        _in_pieces(_widen_float16, numbers, result)
    else:
        np.copyto(result, numbers, casting="same_kind")


def _to_odd(numbers: Array) -> Array:
    """float64 to float32, where what is not exact becomes the neighbour whose last bit is 1."""
    near = numbers.astype(np.float32)
    back, bits = near.astype(np.float64), near.view(np.uint32)
    bits -= np.abs(back) > np.abs(numbers)  # one step towards zero
    bits |= back != numbers
    return near


def checked(numbers: Array, dtype: str, memory: Scratch, *, settle: bool = False) -> Array:
    """`narrowed`, where every finite number stays finite, and NaNs have the same bits everywhere.

    Raises:
        IncompatibleError: a number is too large for `dtype`.
    """
    if (same := exactly(numbers, dtype)) is not None:
        return same
    before = None if all_finite(numbers) else np.isfinite(numbers)
    nan = np.isnan(numbers) if dtype == "BF16" and before is not None else None
    result = narrowed(numbers, dtype, memory, settle=settle)
    if nan is not None:
        result[nan] = NAN
    if before is not None or not all_stored_finite(result, dtype):
        before = np.ones(result.shape, np.bool_) if before is None else before
        check_range(before, finite(result, dtype), dtype, "numbers")
    return result


def exactly(numbers: Array, dtype: str) -> Array | None:
    """Numbers as they are stored, where that changes none of them and is known at a glance: they are of that dtype, or of
    float32, and finite, and upper halves of it are bfloat16. None where they may have to be rounded.
    """
    if numbers.dtype == STORED[dtype]:
        return numbers
    if dtype != "BF16" or numbers.dtype != np.float32 or not numbers.size:
        return None
    if not numbers.flags.c_contiguous:
        by_columns = exactly(numbers.T, dtype) if numbers.T.flags.c_contiguous else None
        return None if by_columns is None else by_columns.T
    bits = numbers.view(np.uint32)
    if int(np.bitwise_or.reduce(bits, axis=None)) & 0xFFFF:
        return None
    upper = np.empty(numbers.shape, np.uint16)
    np.right_shift(bits, 16, out=upper, casting="unsafe")
    return upper if all_stored_finite(upper, dtype) else None


def at_random(numbers: Array, dtype: str, memory: Scratch, draws: Array) -> Array:
    """Numbers as they are stored, each as one of its two neighbours, at random, so that the mean is the number. They
    become what the stored ones stand for.

    A number x between neighbours a ≤ x < b becomes b with probability (x - a) / (b - a), and no finite one becomes
    infinite that would not by rounding to nearest.

    Args:
        draws: uniform in [0, 1), one for each number.

    Raises:
        IncompatibleError: a number is too large for `dtype`.

    Source: Croci et al., Stochastic rounding: implementation, error analysis and applications, 2022.
    """
    before = np.isfinite(numbers)
    stored = narrowed(numbers, dtype, memory)
    check_range(before, finite(stored, dtype), dtype, "numbers")
    with np.errstate(all="ignore"):
        near = widened(stored, dtype, memory)
        error = numbers - near
        bits = stored.view(np.uint16)
        outwards = (np.signbit(error) == np.signbit(near)) | (near == 0)
        neighbour = np.where(outwards, bits + np.uint16(1), bits - np.uint16(1))
        neighbour = np.where(near == 0, np.where(error < 0, np.uint16(0x8001), np.uint16(1)), neighbour)
        gap = np.abs(widened(neighbour.view(stored.dtype), dtype, Scratch()) - near)
        moved = (draws * gap < np.abs(error)) & np.isfinite(gap)
    np.copyto(bits, neighbour, where=moved)
    np.copyto(numbers, widened(stored, dtype, memory))
    return stored


def check_range(before: NDArray[np.bool_], after: NDArray[np.bool_], dtype: str, what: str) -> None:
    """Raise IncompatibleError for numbers that were finite before they were stored in `dtype`, and are not after."""
    count = int(np.count_nonzero(before & ~after))
    if count:
        wider = "float32, or bfloat16" if dtype == "F16" else "float64"
        raise IncompatibleError(
            f"{count} {what} are too large for {FLOATS[dtype]}",
            hint=f"store it wider: --dtype {wider}",
            code="E-OVERFLOW",
        )


def finite(stored: Array, dtype: str) -> NDArray[np.bool_]:
    """Which stored numbers are neither NaN nor infinite."""
    infinity = {"BF16": 0x7F80, "F16": 0x7C00}.get(dtype)
    if infinity is None:
        return np.isfinite(stored)
    result: NDArray[np.bool_] = np.bitwise_and(stored.view(np.uint16), 0x7FFF) < infinity
    return result


def all_stored_finite(stored: Array, dtype: str) -> bool:
    """Whether no stored number is NaN or infinite."""
    if not stored.size:
        return True
    infinity = {"BF16": 0x7F80, "F16": 0x7C00}.get(dtype)
    if infinity is None:
        return all_finite(stored)
    bits = stored.view(np.uint16)  # as an unsigned one, what is not finite and negative is above all others;
    return (
        int(bits.max()) < 0x8000 | infinity and int(bits.view(np.int16).max()) < infinity
    )  # as a signed one, positive


SIDE, TRANSPOSED = 256, 1 << 17
"""Rows, and numbers, that are transposed at a time: a core keeps them at hand, as they are read and as they are written."""


def transposed(matrix: Array) -> Array:
    """The transpose of a matrix, its rows one after the other in memory.

    Where rows begin at multiples of a page, a column falls on a few lines of the cache: a tile is read from a copy whose
    rows are an odd number of lines long.
    """
    if matrix.T.flags.c_contiguous:
        return matrix.T
    height, width = matrix.shape
    found = np.empty((width, height), matrix.dtype)
    rows = min(height, SIDE)
    columns = max(1, min(width, TRANSPOSED // max(1, rows)))
    lines = -(-columns * matrix.itemsize // LINE) | 1
    aside = np.empty((rows, lines * LINE // matrix.itemsize), matrix.dtype)
    for row in range(0, height, rows or 1):
        for column in range(0, width, columns):
            part = matrix[row : row + rows, column : column + columns]
            tile = aside[: part.shape[0], : part.shape[1]]
            np.copyto(tile, part)
            np.copyto(found[column : column + columns, row : row + rows], tile.T)
    return found


def numbers(values: Any) -> tuple[Array, str]:
    """Numbers in float32, or float64 where they are that, and the dtype they had: of a numpy array, a torch tensor or a
    list.

    >>> numbers([[1, 2]])
    (array([[1., 2.]], dtype=float32), 'F32')
    """
    if isinstance(values, DeviceArray):
        found: Any = values
        return found, "F64" if values.dtype == np.float64 else "F32"
    if type(values).__module__.partition(".")[0] == "torch":
        name = str(values.dtype).removeprefix("torch.")
        short = next((short for short, long in FLOATS.items() if long == name), "F32")
        values = values.detach().cpu()
        return (values.double() if short == "F64" else values.float()).numpy(), short
    given = np.asarray(values)
    short = next((short for short, kind in STORED.items() if given.dtype == kind and short != "BF16"), "F32")
    return given.astype(np.float64 if short == "F64" else np.float32, copy=False), short


def tensor(stored: Array, dtype: str) -> Tensor:
    """Stored numbers as a tensor of their dtype, in the same memory."""
    import torch

    flat = torch.from_numpy(stored)
    return flat.view(torch.bfloat16) if dtype == "BF16" else flat


def carried(data: bytearray, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Bytes as a tensor of integers, or of another dtype in `CARRIED`, in the same memory."""
    import torch

    return torch.from_numpy(np.frombuffer(data, np.uint8)).view(getattr(torch, CARRIED[dtype])).reshape(shape)


def array(tensor: Tensor) -> Array:
    """The numbers of a contiguous tensor as they are stored, in the same memory."""
    import torch

    numbers: Array = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return numbers
