"""Cutting to a rank, an energy and a budget, against singular values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import write_adapter
from safetensors.torch import save_file

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError
from adapterops.operations.truncation import check_cut, truncate


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return open_adapter(write_adapter(tmp_path / "a", rank=4))


def singular(adapter: Adapter, module: str) -> np.ndarray:
    return np.linalg.svd(adapter.updates[module].dense().astype(np.float64), compute_uv=False)


def test_a_rank_leaves_the_tail(adapter: Adapter) -> None:
    found = truncate(adapter, 2)
    for module, update in found.updates.items():
        lost = np.linalg.norm(adapter.updates[module].dense() - update.dense())
        assert lost == pytest.approx(np.linalg.norm(singular(adapter, module)[2:]), rel=1e-4)
        assert found.layout[module].rank == 2
    same = truncate(adapter, 9)
    assert {each.rank for each in same.layout.values()} == {4}


def test_an_energy_is_kept_with_the_smallest_rank(adapter: Adapter) -> None:
    for module, update in truncate(adapter, energy=0.8).updates.items():
        values = singular(adapter, module)
        shares = np.cumsum(values**2) / np.sum(values**2)
        assert np.linalg.matrix_rank(update.dense(), tol=1e-5) == int(np.argmax(shares >= 0.8)) + 1


def test_a_budget_is_spent_where_it_keeps_most(adapter: Adapter) -> None:
    each = sum(adapter.layout["layers.0.q_proj"].shape)
    found = truncate(adapter, budget=5 * each)
    ranks = {module: layout.rank for module, layout in found.layout.items()}
    assert sum(ranks.values()) == 5
    best = sorted(((s, module) for module in ranks for s in singular(adapter, module)), reverse=True)[:5]
    assert ranks == {module: sum(name == module for _, name in best) for module in ranks}
    with pytest.raises(OptionError, match="is too small for one dimension"):
        truncate(adapter, budget=each - 1)


@pytest.mark.parametrize("unit", ["parameters", "bytes"])
@pytest.mark.parametrize("factors", [True, False], ids=["beside factors", "alone"])
def test_the_least_budget_is_said_and_works(tmp_path: Path, factors: bool, unit: str) -> None:
    """Vectors are kept whole whatever their cost, and the number that was asked for is said, and in the history."""
    tensors = {"diffusion_model.norm.diff": torch.ones(8)}
    if factors:
        tensors |= {
            "diffusion_model.q.lora_A.weight": torch.ones(2, 6),
            "diffusion_model.q.lora_B.weight": torch.ones(4, 2),
        }
    save_file(tensors, tmp_path / "a.safetensors")
    adapter = open_adapter(tmp_path / "a.safetensors")
    with pytest.raises(OptionError, match=f"a budget of 1 {unit} is too small") as caught:
        truncate(adapter, budget=1, unit=unit)
    least = int(str(caught.value.hint).split()[-1])
    with pytest.raises(OptionError, match=f"a budget of {least - 1} {unit} is too small"):
        truncate(adapter, budget=least - 1, unit=unit)
    found = truncate(adapter, budget=least, unit=unit)
    assert least == (18 if factors else 8) * (4 if unit == "bytes" else 1)
    assert found.history.parameters["budget"] == least


def test_what_a_budget_measures_depends_on_the_layout(adapter: Adapter) -> None:
    """One history may be that of other modules, where a base names them."""
    known: dict[str, dict[str, int]] = {}
    how = Execution(once=lambda key, shape, measure: known.setdefault(key, measure()))
    narrow = {module: replace(each, rank=1) for module, each in adapter.layout.items()}
    for each in (adapter, adapter, replace(adapter, layout=narrow)):
        truncate(each, budget=1000, how=how)
    assert [max(ranks.values()) for ranks in known.values()] == [4, 1]


@pytest.mark.parametrize(
    "cut", [{}, {"rank": 1, "energy": 0.5}, {"rank": 0}, {"rank": True}, {"energy": 2}, {"budget": 1, "unit": "miles"}]
)
def test_one_way_of_cutting_that_is_possible(cut: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        check_cut(**cut)  # that is the mistake


def test_a_rank_of_numpy_is_a_rank(tmp_path: Path) -> None:
    adapter = truncate(open_adapter(write_adapter(tmp_path / "a")), np.int64(1))
    assert all(type(layout.rank) is int and layout.rank == 1 for layout in adapter.layout.values())
    assert type(adapter.history.parameters["rank"]) is int
