"""Merging: which weights and scales, and what is one adapter of several."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import MODULES, factors, write_adapter
from strategies import several

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.engine.execution import Execution
from adapterops.errors import AdapterOpsError, IncompatibleError
from adapterops.operations.algebra import merge, total
from adapterops.updates.dense import Dense
from adapterops.updates.kronecker import Kronecker


@pytest.fixture
def pair(tmp_path: Path) -> list[Adapter]:
    return [open_adapter(write_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")]


def dense(adapter: Adapter) -> dict[str, np.ndarray]:
    return {module: update.dense() for module, update in adapter.updates.items()}


def test_with_weights_the_result_is_the_weighted_sum(pair: list[Adapter]) -> None:
    found, a, b = map(dense, (merge(pair, weights=[0.7, -0.3]), *pair))
    for module in MODULES:
        np.testing.assert_allclose(found[module], 0.7 * a[module] - 0.3 * b[module], atol=1e-6)


@pytest.mark.parametrize(("scale", "factor"), [("sum", 1), ("mean", 0.5), (0.25, 0.25)])
def test_a_scale_multiplies_the_sum(pair: list[Adapter], scale: str | float, factor: float) -> None:
    for module, update in dense(merge(pair, scale=scale)).items():
        np.testing.assert_allclose(update, factor * sum(dense(each)[module] for each in pair), atol=1e-6)


def test_what_an_adapter_lacks_is_zero(tmp_path: Path, pair: list[Adapter]) -> None:
    few = open_adapter(write_adapter(tmp_path / "few", modules=MODULES[:1], seed=5))
    found = merge([pair[0], few], weights=[1, 1])
    assert list(found.layout) == sorted(MODULES)
    assert [found.layout[module].rank for module in sorted(MODULES)] == [4, 2, 2]
    np.testing.assert_allclose(dense(found)[MODULES[1]], dense(pair[0])[MODULES[1]], atol=1e-6)


def test_adapters_without_a_module_in_common_are_added_and_not_merged(tmp_path: Path, pair: list[Adapter]) -> None:
    other = open_adapter(write_adapter(tmp_path / "other", modules=("layers.7.k_proj",)))
    with pytest.raises(IncompatibleError, match="0 of 1 modules overlap") as caught:
        merge([pair[0], other])
    assert caught.value.code == "E-OVERLAP"
    assert len(total([pair[0], other]).layout) == 4


def test_adapters_whose_modules_a_base_has_are_merged_without_one_in_common(
    tmp_path: Path, pair: list[Adapter]
) -> None:
    other = open_adapter(write_adapter(tmp_path / "other", modules=("layers.7.k_proj",)))
    known = [replace(each, config=replace(each.config, settled=True)) for each in (pair[0], other)]
    found = dense(merge(known))
    assert found.keys() == {*pair[0].layout, *other.layout}
    for each in known:
        for module in each.layout:
            np.testing.assert_allclose(found[module], dense(each)[module], atol=1e-6)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_adapters_that_overlap_through_others_are_merged_in_any_order(order: tuple[int, ...], tmp_path: Path) -> None:
    modules = (MODULES[:1], MODULES[:2], MODULES[1:], MODULES[2:])
    four = [open_adapter(write_adapter(tmp_path / str(i), modules=each, seed=i)) for i, each in enumerate(modules)]
    found = dense(merge([four[i] for i in order], "tsv"))
    expected = dense(merge(four, "tsv"))
    assert found.keys() == expected.keys() == set(MODULES)
    for module, update in found.items():
        np.testing.assert_allclose(update, expected[module], atol=1e-6)


def test_another_base_is_asked_for(tmp_path: Path, pair: list[Adapter]) -> None:
    from corpus import config

    other = open_adapter(write_adapter(tmp_path / "other", fields=config(base_model_name_or_path="another/base")))
    with pytest.raises(IncompatibleError):
        merge([pair[0], other])
    merge([pair[0], other], allow_base_mismatch=True)


def trained(seed: int, lokr: bool = False) -> Adapter:
    """Two modules, one of them with a LoKr of the rank of the matrix where `lokr` says so."""
    first, second = several(seed)[:2]
    random = np.random.default_rng(seed)
    whole = Kronecker(*(Dense(random.standard_normal(shape)) for shape in ((2, 2), (6, 5))))
    return Adapter.of({"q": first, "v": whole if lokr else second})


def test_three_to_eight_adapters_of_which_nothing_is_said_are_evened() -> None:
    adapters = [trained(seed) for seed in range(3)]
    for count, method in ((2, "linear"), (3, "even")):
        found, expected = merge(adapters[:count]), merge(adapters[:count], method, scale="auto")
        assert found.history.parameters == expected.history.parameters
        for module in found.layout:
            np.testing.assert_array_equal(found.updates[module].dense(), expected.updates[module].dense())
    nine = merge([trained(seed) for seed in range(9)])
    assert nine.history.parameters["method"] == "linear"


@pytest.mark.parametrize("given", [{"weights": [1, 1, 1]}, {"scale": "sum"}, {"scale": 0.4}, {"space": "core"}])
def test_who_says_anything_of_weights_scale_or_space_gets_the_sum(given: dict[str, Any]) -> None:
    found = merge([trained(seed) for seed in range(3)], **given)
    assert found.history.parameters["method"] == "linear"


def test_even_adds_where_an_update_has_no_lower_rank_than_the_matrix() -> None:
    adapters = [0.01 * trained(seed, lokr=seed == 1) for seed in range(3)]
    found, added, evened = (merge(adapters, method, scale="auto") for method in (None, "linear", "even"))
    assert found.history.parameters == evened.history.parameters
    assert found.layout["v"] == added.layout["v"]
    np.testing.assert_array_equal(found.updates["v"].dense(), added.updates["v"].dense())
    assert not np.allclose(found.updates["q"].dense(), added.updates["q"].dense())


@pytest.mark.parametrize("method", ["tsv", "even", "ctm"])
def test_a_number_that_is_not_finite_is_never_taken_for_zero(tmp_path: Path, method: str) -> None:
    tensors = {name: each.clone() for name, each in factors().items()}
    next(iter(tensors.values()))[0, 0] = float("nan")
    broken = open_adapter(write_adapter(tmp_path / "broken", tensors), allow_nonfinite=True)
    healthy = open_adapter(write_adapter(tmp_path / "healthy", seed=1))
    merged = merge([healthy, broken], method, scale="sum", space="delta")
    with pytest.raises(AdapterOpsError):
        dense(merged)


def test_what_is_measured_over_the_whole_model_is_that_of_these_modules(pair: list[Adapter]) -> None:
    """One history may be that of adapters by the names of two bases."""
    keys: list[str] = []
    how = Execution(once=lambda key, shape, measure: (keys.append(key), measure())[1])

    def measured(adapters: list[Adapter]) -> set[str]:
        keys.clear()
        dense(merge(adapters, "ties", convention="paper", density=0.5, how=how))
        return {*keys}

    renamed = [
        replace(
            each,
            updates={f"model.{name}": update for name, update in each.updates.items()},
            layout={f"model.{name}": layout for name, layout in each.layout.items()},
        )
        for each in pair
    ]
    assert len(measured(pair)) == 2
    assert measured(pair) == measured(pair)
    assert not measured(pair) & measured(renamed)
