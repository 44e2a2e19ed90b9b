from __future__ import annotations

from typing import Any

import pytest

from adapterops.errors import OptionError
from adapterops.recipes.mergekit_methods import METHODS, TensorGroup


def term(method: str, models: dict[str, dict[str, Any]], **own: Any) -> str | None:
    known = METHODS[method]
    group = TensorGroup({**known.own, **own}, {name: {**known.models, **each} for name, each in models.items()})
    return known.term(group, list(models))


def test_one_density_is_that_of_ties_and_several_are_pruned_first() -> None:
    same = term("ties", {"a": {"weight": 1, "density": 0.5}, "b": {"weight": 2, "density": 0.5}})
    assert same == 'ties(a, b, weights=[1.0, 2.0], density=0.5, convention="mergekit", scale=1.0)'
    other = term("ties", {"a": {"weight": 1, "density": 0.5}, "b": {"weight": 2}}, normalize=False)
    assert other == (
        'ties(ties(a, density=0.5, convention="mergekit", scale="sum"), b, weights=[1.0, 2.0], density=1.0, convention="mergekit", '
        'disjoint="sum", scale=1.0)'
    )


def test_a_mean_is_the_first_model_and_shares_of_the_others() -> None:
    assert term("linear", {"a": {"weight": 1}, "b": {"weight": 3}}) == 'linear(b, weights=[0.75], scale="sum")'
    with pytest.raises(OptionError, match="the weights add up to 4"):
        term("linear", {"a": {"weight": 1}, "b": {"weight": 3}}, normalize=False)


def test_dare_that_is_not_rescaled_is_multiplied_by_what_is_kept() -> None:
    found = term("dare_linear", {"a": {"weight": 1, "density": 0.5}}, rescale=False)
    assert found == 'linear(0.5*dare_linear(a, density=0.5, scale="sum"), weights=[1.0], scale="sum")'


def test_where_nothing_is_added_there_is_no_term() -> None:
    assert term("slerp", {"b": {}}, t=0) is None
    assert term("task_arithmetic", {"a": {"weight": 0}}) is None
    with pytest.raises(OptionError, match="t is 2"):
        term("slerp", {"b": {}}, t=2)
