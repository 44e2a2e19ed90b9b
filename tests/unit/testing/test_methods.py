"""Methods that break a law are found; tests/property holds all registered ones to the laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapterops.methods import METHODS, method
from adapterops.testing import check_method, check_unbiased


@pytest.fixture
def registered() -> Iterator[Callable[..., None]]:
    names = []

    def add(name: str, kernel: Any, spaces: tuple[str, ...] = ("delta",)) -> None:
        method(name, source="an example", acts="updates", spaces=spaces)(kernel)
        names.append(name)

    yield add
    for name in names:
        METHODS.remove(name)


def test_one_that_depends_on_the_order(registered: Callable[..., None]) -> None:
    registered("first", lambda updates, weights: 1.0 * updates[0])
    with pytest.raises(AssertionError, match="first: order_does_not_matter does not hold at seed"):
        check_method("first")


def test_one_that_does_not_scale(registered: Callable[..., None]) -> None:
    def unit(updates: Any, weights: Any) -> Any:
        total = sum((weight * update for update, weight in zip(updates, weights, strict=True)), 0.0 * updates[0])
        return total if len(updates) == 1 else (1 / (1 + total.norm())) * total

    registered("unit", unit)
    with pytest.raises(AssertionError, match="unit: scaling_commutes does not hold"):
        check_method("unit")


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_random_masks_are_unbiased(name: str) -> None:
    check_unbiased(name)


def test_an_election_of_signs_is_biased() -> None:
    with pytest.raises(AssertionError, match="standard errors from the sum"):
        check_unbiased("dare_ties")
