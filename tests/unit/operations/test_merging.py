"""What becomes of a module, and how often it is computed."""

from __future__ import annotations

from strategies import low_rank

from adapterops import Adapter, merge
from adapterops.methods.registry import find
from adapterops.methods.spaces import SPACES
from adapterops.operations.merging import here
from adapterops.updates.layout import Layout

SMALL, WHOLE = Layout((8, 6), 2, "F32"), Layout((8, 6), 6, "F32")


def test_a_method_that_adds_updates_of_no_lower_rank_is_their_sum() -> None:
    for inputs, name in (([SMALL, SMALL], "even"), ([SMALL, WHOLE], "linear")):
        method, space = here(find("even"), SPACES["core"], inputs)
        assert method.name == name
        assert (space is SPACES["core"]) == (name == "even")


def test_a_module_that_one_adapter_has_is_merged_with_zeros() -> None:
    both = {"q": low_rank(0, 8, 6, 2), "v": low_rank(1, 8, 6, 2)}
    merged = merge([Adapter.of(both), Adapter.of({"q": low_rank(2, 8, 6, 2)})], "linear", scale="mean")
    assert merged.layout.keys() == both.keys()
    assert abs(merged.updates["v"].dense() - both["v"].dense() / 2).max() < 1e-6
