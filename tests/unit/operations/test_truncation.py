"""Cutting to a rank, an energy and a budget, against singular values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import write_adapter

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError
from adapterops.operations.truncation import budget, check_cut, truncate, whole


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


def test_what_a_budget_measures_depends_on_the_layout(adapter: Adapter) -> None:
    """One history may be that of other modules, where a base names them."""
    known: dict[str, dict[str, int]] = {}
    how = Execution(once=lambda key, measure: known.setdefault(key, measure()))
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


@pytest.mark.parametrize(("text", "found"), [(None, (None, "parameters")), ("8 MB", (8_000_000, "bytes"))])
def test_a_budget_in_words(text: str | None, found: tuple[int | None, str]) -> None:
    assert budget(text) == found
    for wrong in ("x", "8 TB", "-1"):
        with pytest.raises(OptionError, match="expected a number such as"):
            budget(wrong)
    with pytest.raises(OptionError, match="is a number of 19 digits times 1000"):
        whole("9" * 19, 1000, "--budget")


def test_a_rank_of_numpy_is_a_rank(tmp_path: Path) -> None:
    adapter = truncate(open_adapter(write_adapter(tmp_path / "a")), np.int64(1))
    assert all(type(layout.rank) is int and layout.rank == 1 for layout in adapter.layout.values())
    assert type(adapter.history.parameters["rank"]) is int
