"""Names of Gram matrices and of modules."""

import pytest

from adapterops.errors import IncompatibleError
from adapterops.operations.grams import matched
from adapterops.provenance.history import Step

MEMORY = Step("memory")


def test_names_may_have_other_prefixes() -> None:
    shapes = {"model.layers.0.q_proj": (4, 4), "model.layers.1.q_proj": (4, 4)}
    widths = {"layers.0.q_proj": 4, "layers.2.q_proj": 4}
    assert matched(shapes, widths, MEMORY) == {"layers.0.q_proj": "model.layers.0.q_proj"}


def test_another_width_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="takes inputs of 3 numbers"):
        matched({"q": (4, 4)}, {"q": 3}, MEMORY)
