"""Numbers in numpy are torch's, bit for bit."""

from __future__ import annotations

import math
import sys
import tracemalloc
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.floats import (
    NAN,
    STORED,
    Array,
    all_stored_finite,
    array,
    at_random,
    checked,
    exactly,
    finite,
    narrowed,
    tensor,
    transposed,
    wide,
    widened,
)
from adapterops.arrays.random import uniform
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError

HALVES = ["BF16", "F16"]


def converted(
    convert: Callable[[Array, str, Scratch], Array], numbers: Array, dtype: str, torch_is_there: bool
) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        if not torch_is_there:
            patch.setitem(sys.modules, "torch", None)
        return convert(numbers, dtype, Scratch())


def every(dtype: str) -> Array:
    """Every number of a dtype of 16 bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(STORED[dtype])


def many() -> Array:
    """Numbers of float32 of all sizes: every upper half with lower halves at ties, beside ties and anywhere."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x3A5C], dtype=np.uint32)
    return (upper[:, None] | lower).reshape(-1).view(np.float32)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit, but for the bits of NaNs."""
    both = one.isnan() & other.isnan()
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.itemsize]
    return one.dtype == other.dtype and bool(((one.view(words) == other.view(words)) | both).all())


@pytest.mark.parametrize("torch_is_there", [True, False])
@pytest.mark.parametrize("dtype", HALVES)
def test_every_half_number_becomes_itself(dtype: str, torch_is_there: bool) -> None:
    stored = every(dtype)
    found = converted(widened, stored, dtype, torch_is_there)
    assert same(torch.from_numpy(found), tensor(stored, dtype).float())
    assert same(tensor(converted(narrowed, found, dtype, torch_is_there), dtype), tensor(stored, dtype))


@pytest.mark.parametrize("torch_is_there", [True, False])
@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_is_that_of_torch(dtype: str, torch_is_there: bool) -> None:
    numbers = many()
    found = tensor(converted(narrowed, numbers, dtype, torch_is_there), dtype)
    assert same(found, torch.from_numpy(numbers).to(getattr(torch, FLOATS[dtype])))


@pytest.mark.parametrize("torch_is_there", [True, False])
@pytest.mark.parametrize("wide_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", HALVES)
def test_settled_numbers_are_what_the_stored_ones_stand_for(dtype: str, wide_dtype: type, torch_is_there: bool) -> None:
    """NaN too, whatever its bits were."""
    numbers = np.concatenate([many(), np.array([0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)]).astype(
        wide_dtype
    )

    def settled(numbers: Array, dtype: str, memory: Scratch) -> Array:
        return narrowed(numbers, dtype, memory, settle=True)

    before = numbers.copy()
    stored = converted(settled, numbers, dtype, torch_is_there)
    assert same(torch.from_numpy(numbers), tensor(stored, dtype).to(torch.from_numpy(numbers).dtype))
    assert same(tensor(stored, dtype), tensor(converted(narrowed, before, dtype, torch_is_there), dtype))


def test_float16_is_rounded_as_numpy_does_it_whatever_the_bits() -> None:
    """Those of small numbers, of NaNs, and of all next to what is halfway between two."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    steps = np.arange(-2, 3).astype(np.uint32)
    bits = (halves[:, None] + np.concatenate([steps + np.uint32(between) for between in (0, 0x800, 0x1000)])).reshape(
        -1
    )
    numbers = np.concatenate([bits, np.arange(0, 1 << 32, 0xFFF1, dtype=np.uint64).astype(np.uint32)]).view(np.float32)
    small = np.arange(-4096, 4096, dtype=np.float32) * np.float32(2.0**-26)  # halves and quarters of float16's least
    for some in (numbers, small, small[:0], numbers[::2], small.reshape(2, -1)[:, 1:]):
        with np.errstate(all="ignore"):
            expected = some.astype(np.float16)
        found = converted(narrowed, some, "F16", False)
        assert (found.view(np.uint16) == expected.view(np.uint16)).all()


@pytest.mark.parametrize("dtype", list(FLOATS))
def test_what_is_stored_already_is_taken_as_it_is(dtype: str) -> None:
    numbers = np.ones(3, STORED[dtype] if dtype != "BF16" else np.float32)
    if dtype != "BF16":
        assert narrowed(numbers, dtype, Scratch()) is numbers
    assert wide(dtype) == ("float64" if dtype == "F64" else "float32")


def test_a_torch_that_is_only_half_imported_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("torch")
    half.__spec__ = ModuleSpec("torch", None)
    half.__spec__._initializing = True  # as the import system marks it
    monkeypatch.setitem(sys.modules, "torch", half)
    assert (narrowed(np.ones(3, np.float32), "BF16", Scratch()) == 0x3F80).all()


@pytest.mark.parametrize("torch_is_there", [True, False])
def test_a_nan_stays_one_whatever_its_bits(torch_is_there: bool) -> None:
    numbers = np.array(
        [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, 0x7FC00000, 0x3F800000] * 9, dtype=np.uint32
    ).view(np.float32)
    found = converted(narrowed, numbers, "BF16", torch_is_there)
    assert (tensor(found, "BF16").isnan().numpy() == np.isnan(numbers)).all()
    assert (converted(checked, numbers, "BF16", torch_is_there) == np.where(np.isnan(numbers), NAN, 0x3F80)).all()


@given(st.lists(st.floats(width=32), max_size=9), st.sampled_from(["F32", "F64", *HALVES]))
def test_what_is_finite_and_what_is_not(numbers: list[float], dtype: str) -> None:
    stored = narrowed(np.array(numbers, np.float32), dtype, Scratch())
    assert finite(stored, dtype).tolist() == tensor(stored, dtype).isfinite().tolist()


@pytest.mark.parametrize("dtype", ["F32", *HALVES])
def test_numbers_that_do_not_fit_are_counted(dtype: str) -> None:
    numbers = np.array([1.0, 1e300, -1e300, math.inf, math.nan])
    with pytest.raises(IncompatibleError, match=f"2 numbers are too large for {FLOATS[dtype]}"):
        checked(numbers, dtype, Scratch())
    checked(numbers[[0, 3, 4]], dtype, Scratch())


@pytest.mark.parametrize("odd", [[], [0x3F800001], [0x7F800000], [0xFF800000], [0x7FC00000], [0x7F810000]], ids=str)
def test_numbers_that_were_bfloat16_become_that_again(odd: list[int]) -> None:
    """Every finite one of them, and what is not among them is as it is by itself."""
    stored = np.array([bits for bits in range(1 << 16) if bits & 0x7FFF < 0x7F80], np.uint16).reshape(-1, 8)
    numbers = widened(stored, "BF16", Scratch()).copy()
    numbers.reshape(-1)[: len(odd)] = np.array(odd, np.uint32).view(np.float32)
    alone = checked(numbers.reshape(-1)[: len(odd)].copy(), "BF16", Scratch())
    for found in (checked(numbers, "BF16", Scratch()), checked(numbers.T, "BF16", Scratch()).T):
        np.testing.assert_array_equal(found.reshape(-1)[: len(odd)], alone)
        np.testing.assert_array_equal(found.reshape(-1)[len(odd) :], stored.reshape(-1)[len(odd) :])


def test_numbers_of_float64_may_be_as_large_as_they_are() -> None:
    numbers = np.array([1e300])
    assert checked(numbers, "F64", Scratch()) is numbers


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_tensor_and_its_numbers_share_memory(dtype: torch.dtype) -> None:
    name = next(short for short, long in FLOATS.items() if getattr(torch, long) == dtype)
    first = torch.zeros(2, 3, dtype=dtype)
    again = tensor(array(first), name)
    again[1, 2] = 2
    assert first.tolist() == [[0, 0, 0], [0, 0, 2]]
    assert again.dtype == dtype


def test_the_results_of_two_dtypes_do_not_share_memory_with_what_they_are_made_of() -> None:
    memory = Scratch()
    stored = memory.array("read", (4,), np.uint16)
    stored[:] = 0x3F80
    wide_ = widened(stored, "BF16", memory)
    narrow = narrowed(wide_, "BF16", memory)
    assert (stored == narrow).all()
    assert not np.shares_memory(stored, wide_)
    assert not np.shares_memory(narrow, wide_)
    assert not np.shares_memory(narrow, stored)


NUMBERS = [1e-3, -1e-3, 3e-8, -3e-8, 1.9999, 2.0001, -1.0, 0.0, -0.0, 65500.0, -65519.0]


@pytest.mark.parametrize("wide", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", HALVES)
def test_at_random_the_mean_is_the_number_and_nothing_but_its_neighbours_is_stored(dtype: str, wide: type) -> None:
    count = 1 << 16
    exact = np.array(NUMBERS[:-2] if dtype == "F16" else NUMBERS, wide)
    numbers = np.repeat(exact[:, None], count, axis=1)
    stored = at_random(numbers, dtype, Scratch(), uniform("key", 0, numbers.shape))
    assert (widened(stored, dtype, Scratch()) == numbers).all()  # they are what is stored now
    for x, found in zip(exact, numbers.astype(np.float64), strict=True):
        values = sorted(set(found))
        assert len(values) <= 2
        assert values[0] <= x <= values[-1]
        bits = [int(narrowed(np.array([each], np.float32), dtype, Scratch()).view(np.uint16)[0]) for each in values]
        assert len(bits) == 1 or abs((bits[0] & 0x7FFF) - (bits[1] & 0x7FFF)) == 1
        assert abs(found.mean() - x) <= 5 * found.std() / count**0.5
        assert len(values) == 2 or values[0] == x


def test_at_random_no_number_becomes_infinite_that_fits() -> None:
    numbers = np.full((1000,), 65519.0, np.float32)  # nearer to 65504 than to what would be the next
    assert (at_random(numbers, "F16", Scratch(), uniform("key", 0, (1000,))) == np.float16(65504)).all()
    with pytest.raises(IncompatibleError, match="too large"):
        at_random(np.array([65520.0], np.float32), "F16", Scratch(), uniform("key", 0, (1,)))


@pytest.mark.parametrize("dtype", HALVES)
def test_numbers_that_are_not_finite_are_found_among_all(dtype: str) -> None:
    stored = every(dtype)
    fine = finite(stored, dtype)
    assert all_stored_finite(stored[fine], dtype)
    assert all_stored_finite(stored[:0], dtype)
    assert not any(all_stored_finite(np.append(stored[fine], each), dtype) for each in stored[~fine])


def test_what_is_stored_exactly_is_known_at_a_glance() -> None:
    upper = widened(every("BF16")[finite(every("BF16"), "BF16")], "BF16", Scratch())
    assert (exactly(upper, "BF16") == every("BF16")[finite(every("BF16"), "BF16")]).all()
    turned = exactly(upper.reshape(2, -1).T, "BF16")
    assert turned is not None
    assert (turned.T.reshape(-1) == exactly(upper, "BF16")).all()
    assert exactly(np.float32([1, 1 + 2**-8]), "BF16") is None
    assert exactly(np.float32([1, np.inf]), "BF16") is None
    assert exactly(upper, "F32") is upper
    assert exactly(upper, "F16") is None


@pytest.mark.parametrize("shape", [(64, 4096), (4096, 64), (3, 5), (1, 7), (0, 4)])
def test_transposed_is_the_transpose_row_by_row(shape: tuple[int, int]) -> None:
    matrix = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    for found, wanted in (
        (transposed(matrix), matrix.T),
        (transposed(matrix.T), matrix),
        (transposed(matrix[::2]), matrix[::2].T),
    ):
        assert found.flags.c_contiguous
        assert (found == wanted).all()


@pytest.mark.parametrize(
    ("convert", "given", "room"),
    [(widened, np.float16, 4), (checked, np.float32, 2)],
)
def test_what_is_converted_takes_no_memory_but_the_result_s(convert: Any, given: Any, room: int) -> None:
    numbers = np.ones((1 << 13, 1 << 10), given)
    tracemalloc.start()
    converted(convert, numbers, "F16", False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert room * numbers.size <= peak < 1.2 * room * numbers.size
