"""What becomes of a module, and how often it is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import A, B, config, factors, write_adapter
from strategies import low_rank

from adapterops import Adapter, Dense, merge, open_adapter, save_adapter, truncate
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
    whole = [Adapter.of({"large": Dense(each.updates["large"].dense())}) for each in adapters]
    merged = merge(whole)
    merged.updates["large"]
    assert isinstance(merged.history, Step)
    assert merged.history.multipliers
    assert merged.history.multipliers.of_sum() == ["large"]
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
    with pytest.raises(UnsupportedError, match="was computed, and has no exact factors") as caught:
        merge(adapters, **given)
    assert caught.value.tensor == "q"
    assert "truncate(ties(a, b), rank=32)" in str(caught.value.hint)  # nothing that was made in memory has a path
    assert "is LoRA" not in str(caught.value)
    cut = truncate(adapters[1], rank=3)
    merge([adapters[0], cut], **given).updates["q"].dense()


@pytest.mark.parametrize(
    "given",
    [
        {"method": "linear", "space": "knots"},
        {"method": "linear", "space": "core"},
        {"method": "ties", "space": "knots"},
        {"method": "core_ties"},
        {"method": "tsv"},
        {"method": "tsv", "space": "delta"},
        {"method": "even"},
    ],
)
def test_biases_of_lora_are_merged_by_their_entries_and_added_where_the_method_is_for_matrices(
    given: dict[str, Any], tmp_path: Path
) -> None:
    rng, bias = np.random.default_rng(0), B.replace("weight", "bias")
    biases = [0.01 * rng.standard_normal(12).astype(np.float32) for _ in range(3)]
    adapters = [
        open_adapter(write_adapter(tmp_path / str(i), own, config(2, lora_bias=True, target_modules=["q_proj"])))
        for i, each in enumerate(biases)
        if (own := {name: t for name, t in factors(seed=i).items() if name in (A, B)} | {bias: torch.tensor(each)})
    ]
    merged = merge(adapters, scale="sum", **given)
    exact = 4 / 2 * np.array(biases, np.float64)
    if "ties" in given["method"]:
        for each in exact:
            each[np.argsort(-abs(each))[int(0.2 * 12) :]] = 0
        agree = exact * np.where(exact.sum(axis=0) >= 0, 1, -1) > 0
        exact = np.where(agree, exact, 0) / np.maximum(agree.sum(axis=0), 1)
    save_adapter(merged, tmp_path / "merged")
    (module,) = [each for each in merged.layout if each.endswith(".bias")]
    for result in merged, open_adapter(tmp_path / "merged"):
        np.testing.assert_allclose(result.updates[module].dense()[0], exact.sum(axis=0), rtol=1e-5, atol=1e-9)
    with pytest.raises(UnsupportedError, match="is a bias of LoRA and has no factors") as caught:
        merge(adapters, "linear", space="factors")
    assert "drop(a, {'*.bias'" in str(caught.value.hint)


def test_a_weight_of_one_output_is_no_vector() -> None:
    row = Layout((1, 6), 1, "F32", dense=True)
    assert row.vector
    assert not replace(row, kernel=(6,)).vector
    assert here(find("tsv"), SPACES["core"], [row, row])[0].name == "linear"
    assert here(find("tsv"), SPACES["core"], [replace(row, kernel=(6,))] * 2)[0].name == "tsv"
