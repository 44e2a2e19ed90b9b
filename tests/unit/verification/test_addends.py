"""Rows of a tensor that an update covers, by the definition: every `step`-th of them."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.verification.addends import Addend


@pytest.mark.parametrize("rows", [range(3, 9), range(2, 12, 2), range(1, 12, 3)])
def test_rows_of_the_tensor_and_of_the_update_are_the_same_ones(rows: range) -> None:
    place, tensor = Addend("m", rows, slice(0, 1), first=5), np.full(14, -1)
    for begin in range(0, 14, 4):
        found = place.within(begin, min(begin + 4, 14))
        if found is not None:
            here, there = found
            tensor[begin : min(begin + 4, 14)][here] = range(there.start, there.stop)
    expected = np.full(14, -1)
    expected[list(rows)] = range(5, 5 + len(rows))
    assert tensor.tolist() == expected.tolist()
