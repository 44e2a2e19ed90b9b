"""Products of numbers that float64 has no squares of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.methods.products import inner_products, ordinary
from adapterops.updates.dense import Dense


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong: float) -> None:
    """They would be taken for zero, or the healthy matrix next to them."""
    matrices = [np.full((2, 2), wrong), np.ones((2, 2))]
    for order in (matrices, matrices[::-1]):
        with pytest.raises(InputError, match="NaN or infinite"):
            ordinary(order)


def test_what_is_far_below_the_largest_is_zero_next_to_it() -> None:
    found, exponent = ordinary([np.full((2, 2), 1e-300), np.full((2, 2), 1e-310), np.zeros((2, 2))])
    assert exponent < -900
    assert [each.any() for each in found] == [True, True, False]
    assert not ordinary([np.full((2, 2), 1e-300), np.ones((2, 2))])[0][0].any()


class Counted(Dense):
    """An update that counts how often its rows are asked for."""

    asked = 0

    def rows(self, *given: Any) -> Any:
        Counted.asked += 1
        return super().rows(*given)


@pytest.mark.parametrize(("value", "passes"), [(0.0, 1), (1.0, 1), (1e-130, 2), (1e-200, 2), (1e200, 2), (np.nan, 2)])
def test_products_are_summed_again_only_where_they_have_to_be(value: float, passes: int) -> None:
    Counted.asked = 0
    found = inner_products([Counted(np.full((2, 2), value)), Dense(np.full((2, 2), value))])
    assert Counted.asked == passes
    assert found.any() == (value != 0)
