"""Which guess a model agrees with. For models see tests/fault/test_diagnosis.py."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.verification.diagnosis.causes import Scaled
from adapterops.verification.diagnosis.fitting import Fit
from adapterops.verification.diagnosis.judging import Guess, Look, agrees, best, rounded
from adapterops.verification.diagnosis.samples import Unit


def look(weight: float, scaled: Scaled, error: float = 1e-4, explained: bool = True) -> Look:
    fitted = Fit(np.array([weight]), np.array([[error**-2]]))
    return Look(Unit("m", "m.weight", range(4), slice(0, 4)), fitted, False, explained, [scaled], (0.0, 1.0), False)


def test_as_trained_comes_first() -> None:
    assert best([look(1.0001, Scaled(1.0, 1))] * 3).weights == [1.0]


def test_a_cause_for_other_ranks() -> None:
    found = best([look(2.0, Scaled(0.7, 4)), look(3.0, Scaled(0.7, 9)), look(4.0, Scaled(0.7, 16))])
    assert "sqrt(r)" in found.says


def test_the_weight_of_most() -> None:
    assert best([look(0.7, Scaled(0.3, 4)), look(0.7, Scaled(0.3, 4)), look(1.0, Scaled(0.3, 4))]).weights == [0.7]


def test_what_is_not_explained_has_no_say() -> None:
    assert best([look(0.7, Scaled(0.3, 4), explained=False)]).weights == [1.0]


def test_agreeing_is_within_what_is_known() -> None:
    assert agrees(look(1.02, Scaled(1, 4), error=0.01), Guess(np.ones(1)))
    assert not agrees(look(1.02, Scaled(1, 4), error=0.0001), Guess(np.ones(1)))


@pytest.mark.parametrize("weight", [0.5, 0.35, 1 / 3, -1.2])
def test_a_weight_as_it_was_typed(weight: float) -> None:
    assert rounded(weight * 1.0002, 1e-4) == pytest.approx(weight, abs=1e-12)
    assert rounded(weight + 0.0213, np.inf) == weight + 0.0213
