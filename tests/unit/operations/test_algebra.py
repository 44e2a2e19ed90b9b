"""Merging: which weights and scales, and what is one adapter of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import MODULES, write_adapter

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.errors import IncompatibleError, OptionError
from adapterops.operations.algebra import merge, settings, total


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


def test_another_base_is_asked_for(tmp_path: Path, pair: list[Adapter]) -> None:
    from corpus import config

    other = open_adapter(write_adapter(tmp_path / "other", fields=config(base_model_name_or_path="another/base")))
    with pytest.raises(IncompatibleError):
        merge([pair[0], other])
    merge([pair[0], other], allow_base_mismatch=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": [1.0]}, "1 weight for 2 adapters"),
        ({"weights": [1.0, float("nan")]}, "must be finite"),
        ({"space": "moon"}, "space"),
        ({"density": 0.5}, "no parameter density"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings("linear", 2, **given)
