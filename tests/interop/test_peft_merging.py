"""Merging beside PEFT's add_weighted_adapter: equal where PEFT is right, equal to the formula where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import base, deltas, load, make
from strategies import entries

import adapterops as ao

close = torch.testing.assert_close
TARGETS = ["q_proj", "down_proj"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Equal ranks, alphas other than the rank."""
    place = tmp_path_factory.mktemp("pair")
    return (
        make(place / "a", 1, r=4, lora_alpha=12, target_modules=TARGETS),
        make(place / "b", 2, r=4, lora_alpha=5, target_modules=TARGETS),
    )


def by_peft(pair: tuple[Path, Path], weights: list[float], kind: str, **options: Any) -> dict[str, torch.Tensor]:
    model = peft.PeftModel.from_pretrained(base(), pair[0], adapter_name="a")
    model.load_adapter(pair[1], adapter_name="b")
    model.add_weighted_adapter(["a", "b"], weights, "merged", combination_type=kind, **options)
    return deltas(model, "merged")


def assert_equal(adapter: ao.Adapter, expected: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    assert set(adapter.layout) == set(expected)
    for module, delta in expected.items():
        close(entries(adapter.updates[module]).float(), delta, atol=tolerance, rtol=1e-3)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.6, -0.3]])
def test_cat_and_svd(pair: tuple[Path, Path], weights: list[float]) -> None:
    a, b = map(ao.open_adapter, pair)
    assert_equal(ao.merge([a, b], "cat", weights=weights), by_peft(pair, weights, "cat"))
    assert_equal(ao.merge([a, b], "linear", weights=weights), by_peft(pair, weights, "cat"))
    assert_equal(ao.truncate(ao.merge([a, b], weights=weights), 3), by_peft(pair, weights, "svd", svd_rank=3))


@pytest.mark.parametrize("majority", ["total", "frequency"])
def test_ties_on_the_update(pair: tuple[Path, Path], majority: str) -> None:
    a, b = map(ao.open_adapter, pair)
    full = {"svd_rank": 64, "density": 0.3, "majority_sign_method": majority}
    assert_equal(
        ao.merge([a, b], "ties", scale="sum", density=0.3, majority=majority),
        by_peft(pair, [1.0, 1.0], "ties_svd", **full),
        2e-6,
    )
    unequal = ao.merge([a, b], "ties", weights=[0.7, -0.4], density=0.3, majority=majority, convention="peft")
    assert_equal(unequal, by_peft(pair, [0.7, -0.4], "ties_svd", **full), 2e-6)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.7, 0.4], [0.7, -0.4]])
@pytest.mark.parametrize(
    ("method", "options"), [("linear", {}), ("ties", {"density": 0.5}), ("magnitude_prune", {"density": 0.5})]
)
def test_the_space_of_factors_is_that_of_peft(
    pair: tuple[Path, Path], weights: list[float], method: str, options: dict[str, float]
) -> None:
    a, b = map(ao.open_adapter, pair)
    assert_equal(
        ao.merge([a, b], method, weights=weights, space="factors", **options), by_peft(pair, weights, method, **options)
    )


def test_factors_need_equal_ranks(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = ao.open_adapter(make(tmp_path / "c", 3, r=2, target_modules=TARGETS))
    with pytest.raises(ao.AdapterOpsError, match="ranks are"):
        ao.merge([ao.open_adapter(pair[0]), other], "ties", space="factors")


def formula(paths: list[Path], weights: list[float]) -> dict[str, torch.Tensor]:
    """Σ wᵢ Δᵢ of what PEFT itself says each adapter adds."""
    total: dict[str, torch.Tensor] = {}
    for path, weight in zip(paths, weights, strict=True):
        for module, delta in deltas(load(path)).items():
            total[module] = total.get(module, torch.zeros_like(delta)) + weight * delta
    return total


CASES: dict[str, Callable[[Path], tuple[list[Path], list[float]]]] = {
    "rsLoRA": lambda place: (
        [make(place / str(seed), seed, r=2, use_rslora=True, target_modules=TARGETS) for seed in (1, 2)],
        [1.0, 1.0],
    ),
    "rsLoRA with plain": lambda place: (
        [make(place / str(seed), seed, r=4, use_rslora=seed == 1, target_modules=TARGETS) for seed in (1, 2)],
        [1.0, 1.0],
    ),
    "the mean of two that are identical": lambda place: (
        [make(place / "one", 1, r=4, target_modules=TARGETS)] * 2,
        [0.5, 0.5],
    ),
    "a random pair": lambda place: (
        [make(place / str(seed), seed, r=4, target_modules=TARGETS) for seed in (1, 2)],
        [0.5, 0.5],
    ),
    "rank patterns": lambda place: (
        [
            make(place / str(seed), seed, r=4, rank_pattern={"q_proj": 1 + seed}, target_modules=TARGETS)
            for seed in (1, 2)
        ],
        [1.0, -1.0],
    ),
    "disjoint layers": lambda place: (
        [
            make(place / str(layers), 1, r=4, layers_to_transform=layers, target_modules=TARGETS)
            for layers in ([0], [0, 1])
        ],
        [1.0, 1.0],
    ),
    "one adapter": lambda place: ([make(place / "one", 1, r=4, target_modules=TARGETS)], [1.0]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_formula_where_peft_is_wrong(tmp_path: Path, case: str) -> None:
    paths, weights = CASES[case](tmp_path)
    ao.save_adapter(ao.merge([ao.open_adapter(path) for path in paths], weights=weights), tmp_path / "out")
    found, expected = deltas(load(tmp_path / "out")), formula(paths, weights)
    assert set(found) == set(expected)
    for module, delta in expected.items():
        close(found[module], delta, atol=1e-7, rtol=1e-4)


def test_ties_of_two_that_are_identical_is_that_one(pair: tuple[Path, Path]) -> None:
    a = ao.open_adapter(pair[0])
    merged = ao.merge([a, a], "ties", weights=[0.5, 0.5], density=1.0)
    for module in a.layout:
        close(entries(merged.updates[module]), entries(a.updates[module]))


def test_bf16_and_whole_weights(tmp_path: Path) -> None:
    paths = [make(tmp_path / str(seed), seed, dtype=torch.bfloat16, r=2, target_modules=TARGETS) for seed in (1, 2)]
    ao.save_adapter(
        ao.truncate(ao.merge([ao.open_adapter(path) for path in paths], weights=[1, 2]), 2), tmp_path / "out"
    )
    assert {layout.dtype for layout in ao.open_adapter(tmp_path / "out").layout.values()} == {"BF16"}


@pytest.mark.parametrize("method", ["tsv", "iso_cts", "ctm", "knots_ties", "karcher"])
def test_peft_applies_what_methods_in_the_core_make(pair: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    """From the files, saved, loaded and applied by PEFT, as on whole matrices from PEFT's own deltas."""
    merged = ao.merge([ao.open_adapter(path) for path in pair], method)
    ao.save_adapter(merged, tmp_path / "merged")
    whole = [
        ao.Adapter.of({name: ao.Dense(delta.double()) for name, delta in deltas(load(path), "default").items()})
        for path in pair
    ]
    if "delta" in ao.METHODS[method].spaces:
        merged = ao.merge(whole, method, space="delta")
    assert_equal(merged, deltas(load(tmp_path / "merged"), "default"), 1e-5)
