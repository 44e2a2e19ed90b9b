"""TIES and its relatives against the formulas, on dense matrices in float64, for every convention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MODULES, entries, low_rank

from adapterops import Adapter, LowRank, merge
from adapterops.errors import OptionError

Tensors = list[torch.Tensor]


def trim(x: torch.Tensor, density: float) -> torch.Tensor:
    order = torch.sort(x.flatten().abs(), descending=True, stable=True).indices[: int(density * x.numel())]
    kept = torch.zeros_like(x.flatten())
    kept[order] = x.flatten()[order]
    return kept.view_as(x)


def signs(votes: torch.Tensor, majority: str) -> torch.Tensor:
    total = votes.sum(0) if majority == "total" else votes.sign().sum(0)
    return torch.where(total >= 0, 1.0, -1.0).double()


def ours(deltas: Tensors, weights: list[float], density: float, majority: str) -> torch.Tensor:
    w = torch.tensor(weights, dtype=torch.float64)[:, None, None]
    weighted = w * torch.stack([trim(x, density) for x in deltas])
    agree = weighted * signs(weighted, majority) > 0
    return (weighted * agree).sum(0) / (w.abs() * agree).sum(0).clamp(min=1e-30)


def peft(deltas: Tensors, weights: list[float], density: float, majority: str) -> torch.Tensor:
    w = torch.tensor(weights, dtype=torch.float64)[:, None, None]
    trimmed = torch.stack([trim(x, density) for x in deltas])
    agree = trimmed.sign() == signs(trimmed, majority)
    return (w * trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)


def mergekit(deltas: Tensors, weights: list[float], density: float, majority: str) -> torch.Tensor:
    w = torch.tensor(weights, dtype=torch.float64)[:, None, None]
    weighted = w * torch.stack([trim(x, density) for x in deltas])
    agree = weighted.sign() == signs(weighted, majority)
    divisor = (w * agree).sum(0)
    return (weighted * agree).sum(0) / torch.where(divisor.abs() < 1e-8, 1.0, divisor)


def paper(deltas: list[Tensors], scale: float, density: float) -> Tensors:
    """`deltas[t][m]`: update of module m by adapter t."""
    vectors = torch.stack([torch.cat([x.flatten() for x in one]) for one in deltas])
    count = vectors.shape[1]
    drop = count - int(density * count)
    kept = torch.stack([v * (v.abs() >= v.abs().sort().values[max(drop - 1, 0)]) for v in vectors])
    sign = kept.sum(0).sign()
    majority = -1.0 if sign.sum() < 0 else 1.0
    sign = torch.where(sign == 0, majority, sign)
    agree = torch.where(sign > 0, kept > 0, kept < 0)
    merged = scale * (kept * agree).sum(0) / agree.sum(0).clamp(min=1)
    parts = merged.split([x.numel() for x in deltas[0]])
    return [part.view_as(x) for part, x in zip(parts, deltas[0], strict=True)]


def whole_numbers(seed: int, shape: tuple[int, int]) -> LowRank:
    """An update with many equal entries, and zeros."""
    one = low_rank(seed, *shape, 2)
    return LowRank(one.B.round(), one.A.round())


@pytest.mark.parametrize(("convention", "formula"), [(None, ours), ("peft", peft), ("mergekit", mergekit)])
@pytest.mark.parametrize("majority", ["total", "frequency"])
@pytest.mark.parametrize(
    "make", [lambda seed: low_rank(seed, 7, 5, 3), lambda seed: whole_numbers(seed, (7, 5))], ids=["random", "whole"]
)
@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    density=st.sampled_from([0.2, 0.5, 1.0]),
    weights=st.lists(st.sampled_from([-0.5, 0.25, 1.0, 2.0]), min_size=3, max_size=3),
)
def test_ties(convention, formula, majority, make, seed, density, weights) -> None:
    updates = [make(seed + index) for index in range(3)]
    merged = merge(
        [Adapter.of({"m": update}) for update in updates],
        "ties",
        weights=weights,
        density=density,
        majority=majority,
        convention=convention,
    )
    expected = formula([entries(update) for update in updates], weights, density, majority)
    torch.testing.assert_close(entries(merged.updates["m"]), expected)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([1.0, 0.4]), st.booleans())
def test_ties_of_the_paper(seed: int, density: float, scale: float, whole: bool) -> None:
    make = whole_numbers if whole else (lambda seed, shape: low_rank(seed, *shape, 3))
    updates = [
        {name: make(seed + 10 * t + m, shape) for m, (name, shape) in enumerate(MODULES.items())} for t in range(3)
    ]
    merged = merge(
        [Adapter.of(each) for each in updates], "ties", weights=[scale] * 3, density=density, convention="paper"
    )
    expected = paper([[entries(each[name]) for name in MODULES] for each in updates], scale, density)
    for name, matrix in zip(MODULES, expected, strict=True):
        torch.testing.assert_close(entries(merged.updates[name]), matrix)


def test_the_paper_has_one_weight() -> None:
    pair = [Adapter.of({"m": low_rank(index, 4, 3, 2)}) for index in (0, 1)]
    with pytest.raises(OptionError, match="one weight"):
        merge(pair, "ties", weights=[1, 2], convention="paper").updates["m"]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0]))
def test_magnitude_prune(seed: int, density: float) -> None:
    updates = [low_rank(seed + index, 7, 5, 3) for index in range(2)]
    merged = merge(
        [Adapter.of({"m": update}) for update in updates], "magnitude_prune", weights=[0.5, -2], density=density
    )
    expected = 0.5 * trim(entries(updates[0]), density) - 2 * trim(entries(updates[1]), density)
    torch.testing.assert_close(entries(merged.updates["m"]), expected)
