"""The updates of a module, in as few bytes as an error allows."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.arrays.collected import factors, size, sliced
from adapterops.errors import IncompatibleError
from adapterops.linalg.coding import Code, code
from adapterops.updates.lowrank import LowRank

OUT, IN, RANK, MANY = 96, 80, 8, 24
RANDOM = np.random.default_rng(0)


def update(rank: int = RANK, scale: float = 1.0) -> LowRank:
    return LowRank(RANDOM.standard_normal((OUT, rank)) * scale, RANDOM.standard_normal((rank, IN)))


def regauged(each: LowRank) -> LowRank:
    G = RANDOM.standard_normal((each.rank, each.rank))
    return LowRank(each.B @ G, np.linalg.inv(G) @ each.A, each.scale)


def decoded(found: Code, place: int) -> np.ndarray:
    own = sliced(found.tables, found.numbers[place], found.rows)
    B, A = factors(found.shared, own)
    return B.astype(np.float64) @ A.astype(np.float64)


def stored(found: Code) -> int:
    mean = 0 if found.shared.mean is None else found.shared.mean.nbytes
    return size(found.arrays.values()) + size(array for rows in found.sides.values() for array in rows) + mean


def share(found: Code, updates: list[LowRank]) -> float:
    """Of what B and A take in 16 bits."""
    return stored(found) / sum(2 * each.rank * (OUT + IN) for each in updates)


BASE, A = update(RANK - 1), RANDOM.standard_normal((RANK, IN))
CASES = {
    "unrelated": [update() for _ in range(MANY)],
    "a base and one direction each": [BASE + 0.1 * update(1) for _ in range(MANY)],
    "one A": [LowRank(RANDOM.standard_normal((OUT, RANK)), A) for _ in range(MANY)],
    "other factors of one": [regauged(BASE) for _ in range(MANY)],
    "near one": [LowRank(BASE.B + 0.01 * RANDOM.standard_normal(BASE.B.shape), BASE.A) for _ in range(MANY)],
    "different ranks": [update(rank) for rank in (1, 5, 2, 9)],
    "one alone": [update()],
    "as many dimensions as the matrix": [update(IN) for _ in range(2)],
    "one that is zero": [update(), 0.0 * update(), update()],
}


@pytest.mark.parametrize("updates", CASES.values(), ids=CASES)
@pytest.mark.parametrize("error", [0.1, 0.01, 1e-4])
def test_every_error_is_within_what_was_asked_and_is_the_one_that_is_stated(
    updates: list[LowRank], error: float
) -> None:
    found = code(updates, error)
    for place, each in enumerate(updates):
        exact = each.dense()
        norm, apart = np.linalg.norm(exact), np.linalg.norm(exact - decoded(found, place))
        assert found.norms[place] == pytest.approx(norm, rel=1e-9)
        assert found.errors[place] == pytest.approx(apart, rel=1e-3, abs=1e-9 * norm)
        assert apart <= error * norm * (1 + 1e-6)


@pytest.mark.parametrize(
    ("name", "most"),
    [("a base and one direction each", 0.2), ("one A", 0.35), ("other factors of one", 0.06), ("near one", 0.35)],
)
def test_what_is_shared_is_stored_once(name: str, most: float) -> None:
    updates = CASES[name]
    found = code(updates, 0.01)
    assert share(found, updates) < most
    assert stored(found) < 0.75 * found.separate


def test_updates_that_share_nothing_take_what_they_would_by_themselves() -> None:
    found = code(CASES["unrelated"], 0.01)
    assert found.shared.left is None
    assert found.shared.right is None
    assert stored(found) == pytest.approx(found.separate, rel=0.05)
    assert 0.4 < share(found, CASES["unrelated"]) < 0.75


def test_equal_updates_are_stored_once() -> None:
    found = code(CASES["other factors of one"], 0.01)
    assert found.numbers == [0] * MANY
    assert len(found.tables.own) == 1


def test_a_smaller_error_costs_more() -> None:
    sizes = [stored(code(CASES["a base and one direction each"], error)) for error in (0.1, 0.03, 0.01, 1e-3, 1e-5)]
    assert sizes == sorted(sizes)


def test_a_rank_makes_an_error_that_is_stated() -> None:
    updates = CASES["unrelated"]
    found = code(updates, 0.01, rank=2)
    assert found.tables.own.sum(axis=1).max() == 2
    apart = np.linalg.norm(updates[3].dense() - decoded(found, 3))
    assert found.errors[3] == pytest.approx(apart, rel=1e-6)
    assert found.errors[3] > 0.3 * found.norms[3]


def test_what_is_too_large_is_refused() -> None:
    for size_ in (1e200, 1e100):
        with pytest.raises(IncompatibleError, match="too large for float32"):
            code([LowRank(np.full((OUT, 1), size_), np.ones((1, IN)))], 0.01)
