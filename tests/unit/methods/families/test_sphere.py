"""Slerp and Karcher's mean against their definitions on whole matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import low_rank, merged, several

from adapterops.errors import IncompatibleError, OptionError


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_slerp_turns_at_a_constant_rate(seed: int, t: float) -> None:
    one, other = several(seed, (2, 3))
    x, y = one.dense(), other.dense()
    angle = np.arccos((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y))
    expected = (np.sin((1 - t) * angle) * x + np.sin(t * angle) * y) / np.sin(angle)
    np.testing.assert_allclose(merged([one, other], "slerp", weights=[3 * (1 - t), 3 * t]), expected, atol=1e-10)


def test_parallel_opposite_and_zero_updates_take_the_chord() -> None:
    one = low_rank(0, 12, 10, 2)
    for other, expected in ((2.0 * one, 1.5), (-1.0 * one, 0.0), (0.0 * one, 0.5)):
        np.testing.assert_allclose(merged([one, other], "slerp"), expected * one.dense(), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_karchers_mean_is_where_the_pulls_cancel(seed: int) -> None:
    updates, weights = several(seed), [1.0, 2.0, 0.5]
    parts = [each.dense() for each in updates]
    found = merged(updates, "karcher", weights=weights)
    share = np.array(weights) / 3.5
    np.testing.assert_allclose(np.linalg.norm(found), share @ [np.linalg.norm(part) for part in parts])
    mean, pull = found / np.linalg.norm(found), 0.0
    for each, part in zip(share, parts, strict=True):
        unit = part / np.linalg.norm(part)
        cosine = (unit * mean).sum()
        rest = unit - cosine * mean
        pull = pull + each * np.arccos(cosine) * rest / np.linalg.norm(rest)
    assert np.linalg.norm(pull) < 1e-10


def test_of_two_updates_of_one_norm_it_is_slerp() -> None:
    one, other = several(4, (2, 3))
    other = (one.norm() / other.norm()) * other
    weights = [0.7, 0.3]
    np.testing.assert_allclose(
        merged([one, other], "karcher", weights=weights), merged([one, other], "slerp", weights=weights), atol=1e-9
    )


def test_zero_updates_have_a_norm_and_no_direction() -> None:
    one = low_rank(0, 12, 10, 2)
    np.testing.assert_allclose(merged([one, 0.0 * one], "karcher"), 0.5 * one.dense(), atol=1e-12)
    assert not merged([0.0 * one, 0.0 * one], "karcher").any()


def test_updates_that_cancel_have_no_mean_direction() -> None:
    one = low_rank(0, 12, 10, 2)
    with pytest.raises(IncompatibleError, match="no mean direction"):
        merged([one, -1.0 * one], "karcher")


@pytest.mark.parametrize(
    ("method", "weights", "said"),
    [
        ("slerp", [1.0, 1.0, 1.0], "between two adapters"),
        ("slerp", [1.0, -1.0], "at least 0"),
        ("karcher", [0.0, 0.0], "not all of them 0"),
    ],
)
def test_impossible_weights_are_refused(method: str, weights: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        merged(several(0, (1,) * len(weights)), method, weights=weights)
