"""Compress-then-merge: its rank, what its bases hold, and TIES in them."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, several

from adapterops import Adapter, merge
from adapterops.methods.families.ctm import _shared


def held(parts: list[np.ndarray], U: np.ndarray, V: np.ndarray) -> float:
    return sum(float(np.square(U.T @ part @ V).sum()) for part in parts)


@pytest.mark.parametrize("seed", range(5))
def test_shared_bases_hold_more_than_those_of_the_sum_and_than_random_ones(seed: int) -> None:
    parts = [each.dense() for each in several(seed, (4, 4, 4), (16, 14))]
    U, V = _shared(parts, 4)
    np.testing.assert_allclose(U.T @ U, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(V.T @ V, np.eye(4), atol=1e-12)
    u, _, vt = np.linalg.svd(sum(parts))
    best = held(parts, U, V)
    assert best >= held(parts, u[:, :4], vt[:4].T)
    random = np.random.default_rng(seed)
    for _ in range(20):
        others = (np.linalg.qr(side + 0.1 * random.standard_normal(side.shape))[0] for side in (U, V))
        assert held(parts, *others) <= best * (1 + 1e-4)


def by_all_singular_vectors(parts: list[np.ndarray], rank: int) -> tuple[np.ndarray, np.ndarray]:
    """HOOI as the paper has it: in every turn all singular vectors of the other side, until 1e-6."""

    def strongest(each: list[np.ndarray]) -> np.ndarray:
        return np.linalg.svd(np.concatenate(each, axis=1))[0][:, :rank]

    V, before = strongest([part.T for part in parts]), 0.0
    while True:
        U = strongest([part @ V for part in parts])
        V = strongest([part.T @ U for part in parts])
        now = held(parts, U, V)
        if now - before <= 1e-6 * now:
            return U, V
        before = now


@pytest.mark.parametrize("seed", range(5))
def test_single_steps_after_the_first_turns_hold_as_much_as_all_singular_vectors(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [each.dense() for each in several(seed, (4,) * 6, (48, 40))]
    expected = held(parts, *by_all_singular_vectors(parts, 4))
    decomposed = []
    for name in ("svd", "eigh"):  # not qr, which a step takes
        own = getattr(np.linalg, name)
        monkeypatch.setattr(np.linalg, name, lambda *given, own=own, **how: decomposed.append(1) or own(*given, **how))
    assert held(parts, *_shared(parts, 4)) >= expected * (1 - 1e-4)
    assert len(decomposed) <= 5  # in the first turn, before and after


def test_steps_ahead_need_a_third_of_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unrelated updates, which have the slowest steps: without what the last two turns point at there are 156."""
    parts = [each.dense() for each in several(0, (16,) * 8, (200, 160))]
    own, steps = np.linalg.qr, []
    monkeypatch.setattr(np.linalg, "qr", lambda *given, **how: steps.append(1) or own(*given, **how))
    found = held(parts, *_shared(parts, 16))
    assert len(steps) < 110
    monkeypatch.undo()
    assert found >= held(parts, *by_all_singular_vectors(parts, 16)) * (1 - 1e-6)


def test_the_rank_is_that_of_the_largest_input_or_as_asked() -> None:
    adapters = [Adapter.of({"m": each}) for each in several(1, (2, 3, 2))]
    for options, rank in (({}, 3), ({"dimensions": 2}, 2), ({"dimensions": 50}, 7)):
        result = merge(adapters, "ctm", density=1.0, **options)
        assert result.layout["m"].rank == rank
        assert np.linalg.matrix_rank(result.updates["m"].dense(), tol=1e-9) == rank


@pytest.mark.parametrize("space", ["core", "delta"])
def test_dimensions_in_which_no_update_has_anything_change_nothing(space: str) -> None:
    one = low_rank(0, 12, 10, 3)
    three, six = (merged([one, 2.0 * one], "ctm", dimensions=rank, density=0.3, space=space) for rank in (3, 6))
    np.testing.assert_allclose(six, three, atol=1e-12)


def test_a_basis_that_holds_everything_leaves_a_sum_of_agreeing_updates() -> None:
    one = low_rank(0, 12, 10, 3)
    found = merged([one, 2.0 * one], "ctm", density=1.0, beta=1.0)
    np.testing.assert_allclose(found, 1.5 * one.dense(), atol=1e-11)


def test_rank_one_keeps_its_one_entry() -> None:
    updates = several(2, (1, 1))
    assert merged(updates, "ctm").any()


def test_large_updates_do_not_take_the_bases_for_themselves() -> None:
    small, large = low_rank(0, 12, 10, 2), 100.0 * low_rank(1, 12, 10, 2)

    def kept(beta: float) -> float:
        result = merged([small, large], "ctm", density=1.0, beta=beta, dimensions=2)
        return abs(float((result * small.dense()).sum()))

    parts = [small.dense(), large.dense()]
    norms = [np.linalg.norm(each) for each in parts]
    even = _shared([each / norm for each, norm in zip(parts, norms, strict=True)], 2)
    uneven = _shared(parts, 2)
    assert held(parts[:1], *even) > held(parts[:1], *uneven)
    assert kept(0.0) != kept(1.0)
