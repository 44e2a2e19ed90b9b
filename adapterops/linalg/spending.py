"""Bits, spent where they keep most."""

from __future__ import annotations

import numpy as np

from adapterops.updates.protocol import Array

STEPS = 60
RANGE = 2.0**-30, 2.0**120
"""Between which prices of an error are sought, in bits per budget."""


def spend(errors: Array, costs: Array, budget: float) -> Array:
    """For each of several things one of several options, at the least cost found under which the errors add up to at most
    the budget; where no choice does, the least errors.

    One price of error for all of them: what an option saves is compared with what it loses, times that price. No other
    choice with the same sum of errors costs less.

    Args:
        errors, costs: (things, options).

    Returns:
        The option of each.

    >>> spend(np.array([[1.0, 0.1], [0.5, 0.05]]), np.array([[0.0, 8.0], [0.0, 8.0]]), 0.7).tolist()
    [1, 0]
    """
    least: Array = errors.argmin(axis=1)
    if not len(errors) or budget <= 0:
        return least

    def chosen(price: float) -> Array:
        found: Array = (costs + price / budget * errors).argmin(axis=1)
        return found

    def fits(choice: Array) -> bool:
        return float(np.take_along_axis(errors, choice[:, None], axis=1).sum()) <= budget

    low, high = map(np.log2, RANGE)
    if not fits(chosen(RANGE[1])):
        return least
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(chosen(2.0**middle)) else (middle, high)
    return chosen(2.0**high)
