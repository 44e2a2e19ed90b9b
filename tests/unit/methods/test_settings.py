"""The method and what goes with it, where they are named and where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import OptionError
from adapterops.methods.settings import reason, settings, usual


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": [1.0]}, "1 weight for 2 adapters"),
        ({"weights": [1.0, float("nan")]}, "a weight must be a finite number"),
        ({"weights": [10**400, 1]}, "a weight must be a finite number"),
        ({"scale": 10**400}, "scale must be"),
        ({"space": "moon"}, "space"),
        ({"density": 0.5}, "no parameter density"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings("linear", 2, **given)


@pytest.mark.parametrize("given", [[0.5, 0.3, 0.2], np.ones(3), 0.4, "sum", "core"])
def test_whoever_says_anything_gets_the_sum(given: Any) -> None:
    assert [usual(count, False) for count in (1, 2, 3, 8, 9)] == ["linear", "linear", "even", "even", "linear"]
    assert usual(3, False, None, "auto") == "even"
    assert usual(3, False, given) == "linear"


def test_every_default_has_its_reason_and_nothing_else_has_one() -> None:
    for count, vectors, method, words in (
        (2, False, "linear", "two adapters: the sum"),
        (3, False, "even", "3 to 8 adapters"),
        (9, False, "linear", "more than 8"),
        (3, True, "linear", "tuned models"),
    ):
        options = settings(method, count)[1]
        assert words in str(reason(method, count, vectors, options))
        assert words in str(reason(method, count, vectors, {**options, "full": "mean"}))
        for other in ({"scale": "sum"}, {"weights": [2.0] * count}):
            assert reason(method, count, vectors, {**options, **other}) is None
    assert reason("linear", 3, False, settings("linear", 3)[1]) is None
    assert reason("linear", 1, False, settings("linear", 1)[1]) is None


@pytest.mark.parametrize("method", ["slerp", "karcher"])
def test_the_base_is_one_of_the_models_in_the_space_of_weights(method: str) -> None:
    """It has what the weights leave of 1, which has to be a share, too."""
    assert settings(method, 1, weights=[0.3], space="weights")[1]["weights"] == [0.3]
    for weights in ([1.0, 1.0], [1.3]):
        with pytest.raises(OptionError) as caught:
            settings(method, len(weights), weights=weights, space="weights")
        assert "the base is one of them" in str(caught.value.hint)
    with pytest.raises(OptionError, match="shares of a mean"):
        settings("karcher", 2, weights=[0.8, 0.7], space="weights")
