"""The codes of several updates, stacked and taken out again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.arrays.collected import ROLES, Own, Shared, expected, factors, sliced, stacked
from adapterops.arrays.rows import BITS, decode, encode

OUT, IN = 7, 6
RANDOM = np.random.default_rng(0)
LEFT, RIGHT = (RANDOM.standard_normal((count, width)).astype(np.float32) for count, width in ((3, OUT), (2, IN)))
WAYS = {
    "neither": Shared((OUT, IN)),
    "outputs": Shared((OUT, IN), left=LEFT),
    "inputs": Shared((OUT, IN), right=RIGHT),
    "both": Shared((OUT, IN), LEFT, RIGHT),
    "both, and fewer of outputs": Shared((OUT, IN), LEFT[:1], RIGHT),
}


def own(shared: Shared, seed: int) -> Own:
    """The codes of a random update, of different bits in every row."""
    random = np.random.default_rng(seed)
    bits = random.choice((0, *BITS), shared.rows)

    def rows(count: int, width: int, each: int) -> Any:
        return encode(random.standard_normal((count, width)), each)

    counts = {each: count for each in BITS if (count := int(random.integers(3)))}
    coefficients = {each: rows(int((bits == each).sum()), shared.width, each) for each in BITS if (bits == each).any()}
    B, A = ({each: rows(count, width, each) for each, count in counts.items()} for width in (OUT, IN))
    return Own(bits, coefficients, B, A)


@pytest.mark.parametrize("shared", WAYS.values(), ids=WAYS)
def test_one_of_several_is_what_it_was(shared: Shared) -> None:
    owns = [own(shared, seed) for seed in range(5)]
    tables, arrays = stacked(owns, shared)
    assert {name: (array.dtype.type, array.shape) for name, array in arrays.items()} == expected(tables, shared)
    for number, each in enumerate(owns):
        found = sliced(tables, number, lambda name, begin, end: arrays[name][begin:end])
        for role in ROLES:
            mine, theirs = getattr(each, role), getattr(found, role)
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(a, b) for bits in mine for a, b in zip(mine[bits], theirs[bits], strict=True))
        for mine, theirs in zip(factors(shared, each), factors(shared, found), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("shared", WAYS.values(), ids=WAYS)
def test_an_update_is_the_formula(shared: Shared) -> None:
    one = own(shared, 3)
    C = np.zeros((shared.rows, shared.width))
    for bits, rows in one.coefficients.items():
        C[one.bits == bits] = decode(rows, bits, shared.width)
    if shared.left is None and shared.right is None:
        whole = np.zeros((OUT, IN))
    elif shared.left is None:
        whole = C.T @ RIGHT
    elif shared.right is None:
        whole = shared.left.T @ C
    else:
        whole = shared.left.T @ C @ RIGHT
    for bits in one.B:
        whole = whole + decode(one.B[bits], bits, OUT).T @ decode(one.A[bits], bits, IN)
    B, A = factors(shared, one)
    np.testing.assert_allclose(B @ A, whole, atol=1e-5)


def test_a_row_without_bits_is_the_mean() -> None:
    mean = RANDOM.standard_normal((3, 2)).astype(np.float32)
    B, A = factors(Shared((OUT, IN), LEFT, RIGHT, mean), Own(np.zeros(3, int)))
    np.testing.assert_allclose(B @ A, LEFT.T @ mean @ RIGHT, atol=1e-6)


def test_an_update_that_is_zero_has_one_dimension() -> None:
    B, A = factors(Shared((OUT, IN)), Own(np.zeros(0, int)))
    assert (B.shape, A.shape) == ((OUT, 1), (1, IN))
    assert not (B @ A).any()
