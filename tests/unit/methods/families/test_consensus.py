"""Consensus against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import merged, several

from adapterops.errors import OptionError


@pytest.mark.parametrize(("strictness", "agree"), [(0.4, 2), (0.2, 3), (0.6, 1), (0.0, 3), (1.0, 2)])
def test_it_is_the_formula(strictness: float, agree: int) -> None:
    updates, weights = several(1), [0.7, -1.0, 2.0]
    parts = np.array([weight * each.dense() for each, weight in zip(updates, weights, strict=True)])
    total = parts.sum(axis=0)
    wanted = (np.abs(parts) > strictness * np.abs(total - parts)).sum(axis=0)
    found = merged(updates, "consensus", weights=weights, strictness=strictness, agree=agree)
    np.testing.assert_allclose(found, np.where(wanted >= agree, total, 0), atol=1e-12)
    assert found.any()


def test_more_than_there_are_cannot_agree() -> None:
    with pytest.raises(OptionError, match="agree is 4, and of 3 adapters no entry is wanted by so many") as caught:
        merged(several(1), "consensus", agree=4)
    assert "--agree 3" in caught.value.hint
    with pytest.raises(OptionError, match="of 1 adapter no"):
        merged(several(1)[:1], "consensus")
