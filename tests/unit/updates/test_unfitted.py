from __future__ import annotations

import numpy as np

from adapterops.updates.lowrank import LowRank
from adapterops.updates.unfitted import Unfitted


def test_only_the_width_of_the_weight_makes_it_lora() -> None:
    B, A = np.ones((3, 1)), np.arange(5.0)[None, :]
    update = Unfitted(lambda inputs: LowRank(B, A[:, :inputs]), 3, A.dtype)
    assert (update.shape, update.lowrank()) == ((3, 0), None)
    assert update.on(2).shape == (3, 2)
    changed = update.change((slice(0, 2), slice(0, 4)), np.zeros((2, 4)), np.empty((2, 4)))
    np.testing.assert_array_equal(changed, np.ones((2, 1)) * np.arange(4))
