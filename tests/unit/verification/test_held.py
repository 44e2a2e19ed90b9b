"""What chance explains, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.verification.held import RoundingGain
from adapterops.verification.rounding import rounded_to


@pytest.mark.parametrize(("share", "far"), [(1.0, False), (0.0, True), (2.0, True)])
def test_the_share_that_is_held(share: float, far: bool) -> None:
    random = np.random.default_rng(0)
    W = rounded_to(random.standard_normal((64, 256)), "BF16")
    delta = 2.0**-10 * random.standard_normal(W.shape)
    step = 2.0**-8
    S = np.floor((W + share * delta) / step + random.random(W.shape)) * step
    on_grid = np.round(W / step) * step
    held = RoundingGain().over(on_grid[:32], (on_grid + delta)[:32], (S - W + on_grid)[:32])
    held = held.over(on_grid[32:], (on_grid + delta)[32:], (S - W + on_grid)[32:])
    assert held.gain == pytest.approx(share, abs=8 * held.spread)
    assert held.far() == far


def test_nothing_is_held_of_nothing() -> None:
    W = np.ones((2, 2))
    held = RoundingGain().over(W, W, W)
    assert (held.gain, held.spread, held.far()) == (1.0, 0.0, False)
