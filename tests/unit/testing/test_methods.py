"""Methods that break a law are found; tests/property holds all registered ones to the laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapterops.methods import METHODS, Parameter, method
from adapterops.testing import check_method, check_unbiased


@pytest.fixture
def registered() -> Iterator[Callable[..., None]]:
    names = []

    def add(name: str, kernel: Any, **parameters: Parameter) -> None:
        method(name, source="an example", acts="updates", spaces=("delta",), **parameters)(kernel)
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


def damped(updates: Any, weights: Any, *, damping: float = 0.5) -> Any:
    total = sum((weight * update for update, weight in zip(updates, weights, strict=True)), 0.0 * updates[0])
    return (1 - damping) * total


def test_one_adapter_is_itself_where_every_parameter_is_neutral(registered: Callable[..., None]) -> None:
    registered("damped", damped, damping=Parameter("Of the sum.", low=0, high=1, neutral=0))
    check_method("damped", seeds=range(2))


def test_one_whose_parameters_have_no_neutral_value(registered: Callable[..., None]) -> None:
    registered("damped", damped, damping=Parameter("Of the sum.", low=0, high=1))
    with pytest.raises(AssertionError, match="damped: one_is_itself does not hold"):
        check_method("damped")


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_random_masks_are_unbiased(name: str) -> None:
    check_unbiased(name)


def test_an_election_of_signs_is_biased() -> None:
    with pytest.raises(AssertionError, match="standard errors from the sum"):
        check_unbiased("dare_ties")
