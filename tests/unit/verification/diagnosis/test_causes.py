"""Names for factors."""

from __future__ import annotations

import pytest

from adapterops.verification.diagnosis.causes import Scaled, as_if


@pytest.mark.parametrize(
    ("weight", "scaled", "phrase"),
    [
        (-1.0, Scaled(0.3, 7), "subtracted"),
        (2.0, Scaled(0.3, 7), "added twice"),
        (0.3, Scaled(0.3, 7), "applied twice"),
        (1 / 0.3, Scaled(0.3, 7), "left out"),
        (7**0.5, Scaled(0.3, 7), "and not by alpha / r"),
        (7**-0.5, Scaled(0.3, 7, True), "and not by alpha / sqrt(r)"),
        (7.0, Scaled(0.3, 7), "not divided"),
        (1 / 7, Scaled(0.3, 7), "divided by r twice"),
    ],
)
def test_what_a_factor_looks_like(weight: float, scaled: Scaled, phrase: str) -> None:
    (only,) = as_if(weight, [scaled])
    assert phrase in only


def test_what_rslora_is_not_taken_for() -> None:
    assert as_if(7**0.5, [Scaled(0.3, 7, True)]) == ["alpha were not divided by anything"]


def test_one_name_for_all_or_none() -> None:
    assert as_if(2.0, [Scaled(2.0, 5), Scaled(3.0, 5)]) == ["the update were added twice"]
    assert as_if(3.0, [Scaled(2.0, 5), Scaled(3.0, 5)]) == []
