from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import AdapterOpsError, IncompatibleError
from adapterops.testing import check_change
from adapterops.updates.kinds import KINDS, Kind


def kind(**fields: Any) -> Kind:
    stated = KINDS["QA-LoRA"].stated
    assert stated
    return stated(fields)


def test_it_sees_means_of_groups_of_inputs() -> None:
    """Or of a weight that is not quantized the inputs themselves."""
    of = kind(qalora_group_size=3)
    assert of.measure({"lora_A": (2, 4), "lora_B": (5, 2)})[:2] == ((5, 0), 2)
    random = np.random.default_rng(0)
    A, B, x = (random.standard_normal(shape) for shape in ((2, 4), (5, 2), 12))
    update: Any = of.build({"lora_A": A, "lora_B": B}, 2.0)
    np.testing.assert_allclose(update.on(12).dense() @ x, 2 * B @ A @ (4 * x.reshape(4, 3).mean(axis=1)))
    np.testing.assert_allclose(update.on(4).dense(), 2 * B @ A)
    check_change(update, np.zeros((5, 12)), of.reads)
    with pytest.raises(IncompatibleError, match="4 groups of 3 inputs, and the weight has 13"):
        update.on(13)


@pytest.mark.parametrize("group", [None, 0, 1, True, "8"])
def test_groups_that_are_none(group: Any) -> None:
    with pytest.raises(AdapterOpsError, match="qalora"):
        kind(qalora_group_size=group)
