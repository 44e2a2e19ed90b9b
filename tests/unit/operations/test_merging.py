"""What becomes of a module, and how often it is computed."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank

from adapterops import Adapter, Dense, merge
from adapterops.errors import UnsupportedError
from adapterops.methods.registry import find
from adapterops.methods.spaces import SPACES
from adapterops.operations.merging import here
from adapterops.provenance.history import Step
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


def test_at_auto_even_is_the_sum_where_most_updates_are_large_and_says_where() -> None:
    sizes = {"small": (1, 1, 1), "one large": (1, 1, 99), "large": (1, 99, 99)}
    adapters = [
        Adapter.of({name: 0.01 * size[i] * low_rank(i, 8, 6, 1) for name, size in sizes.items()}) for i in range(3)
    ]
    even, linear = merge(adapters), merge(adapters, "linear", scale="auto")
    for module in sizes:
        same = np.array_equal(even.updates[module].dense(), linear.updates[module].dense())
        assert same == (module == "large")
    assert isinstance(even.history, Step)
    assert even.history.multipliers
    assert even.history.multipliers.of_sum() == ["large"]
    assert even.history.as_json([], measured=True)["summed"] == ["large"]
    full = merge(adapters, "even", scale="sum")
    assert not np.allclose(full.updates["large"].dense(), sum(each.updates["large"].dense() for each in adapters))


DENSE = Layout((8, 6), 3, "F32", dense=True)


@pytest.mark.parametrize("method", ["tsv", "iso_c", "slerp", "linear"])
def test_what_has_one_answer_in_the_core_takes_whole_matrices_where_there_are_no_factors(method: str) -> None:
    one, other = low_rank(0, 8, 6, 2), low_rank(1, 8, 6, 2)
    core = SPACES["core"]
    assert here(find(method), core, [SMALL, SMALL])[1] is core
    assert here(find(method), core, [SMALL, DENSE])[1] is SPACES["delta"]
    mixed = merge([Adapter.of({"q": one}), Adapter.of({"q": Dense(other.dense())})], method, space="core", scale="sum")
    factored = merge([Adapter.of({"q": each}) for each in (one, other)], method, space="core", scale="sum")
    np.testing.assert_allclose(mixed.updates["q"].dense(), factored.updates["q"].dense(), atol=1e-5)
    assert mixed.layout["q"].dense
    assert mixed.layout["q"].held >= 8 * 2 * 8 * 6 or method not in ("tsv", "iso_c")


@pytest.mark.parametrize(
    "given", [{"method": "core_ties"}, {"method": "knots_ties"}, {"method": "ties", "space": "core"}]
)
def test_what_needs_factors_names_the_update_without_and_what_makes_some(given: dict[str, str]) -> None:
    adapters = [Adapter.of({"q": low_rank(0, 8, 6, 2)}), Adapter.of({"q": Dense(np.eye(8, 6))})]
    with pytest.raises(UnsupportedError, match="no factors of low rank") as caught:
        merge(adapters, **given)
    assert caught.value.tensor == "q"
    assert "adapterops truncate" in str(caught.value.hint)
