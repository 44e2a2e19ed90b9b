from __future__ import annotations

import pytest

from adapterops.operations.strangers import strangers

Q, K, V = "layers.0.q_proj", "layers.0.k_proj", "layers.0.v_proj"


@pytest.mark.parametrize(
    ("names", "apart"),
    [
        ([[Q], [Q]], []),
        ([[Q], [K]], [1]),
        ([[Q], [K, V], [Q, V]], []),  # the second by way of the third
        ([[], [Q], [K], []], [2]),
        ([["transformer.blocks.0.q"], ["transformer_2.blocks.0.q"]], []),  # two models of one pipeline
        ([[], []], []),
        ([], []),
    ],
)
def test_the_adapters_that_share_no_module(names: list[list[str]], apart: list[int]) -> None:
    assert strangers([dict.fromkeys(each) for each in names]) == apart
