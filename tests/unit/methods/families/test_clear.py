"""`clear` against TSV-Merge and the sum, and its scale against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, several

from adapterops import Adapter, LowRank, merge

ORTHOGONAL = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]


def test_updates_of_different_inputs_are_merged_by_tsv() -> None:
    updates = [low_rank(seed, 40, 60, 2) for seed in range(3)]
    np.testing.assert_allclose(merged(updates, "clear"), merged(updates, "tsv"), atol=1e-10)


def test_updates_that_read_the_same_inputs_are_added() -> None:
    one = low_rank(0, 12, 10, 3)
    other = LowRank(ORTHOGONAL @ one.B, one.A)
    np.testing.assert_allclose(merged([one, other], "clear"), one.dense() + other.dense(), atol=1e-10)
    one = several(0)[0]
    assert merged([one], "clear") == pytest.approx(one.dense())


def of(*sizes: float) -> list[Adapter]:
    return [Adapter.of({"q": size * low_rank(seed, 40, 60, 2)}) for seed, size in enumerate(sizes)]


@pytest.mark.parametrize("size", [0.001, 0.02, 0.1, 1.0])
def test_what_is_added_to_each_is_bounded(size: float) -> None:
    adapters = of(size, 0.7 * size)
    full, found = (merge(adapters, "clear", scale=scale).updates["q"].dense() for scale in ("sum", "auto"))
    parts = [each.updates["q"].dense() for each in adapters]
    kept = [np.vdot(full, part) / np.vdot(part, part) for part in parts]
    worst = max(np.linalg.norm(full - share * part) for share, part in zip(kept, parts, strict=True))
    same = sum(np.vdot(part, part) for part in parts) / np.vdot(full, sum(parts))
    least = np.linalg.norm(sum(parts)) / 2 / np.linalg.norm(full)
    factor = max(min(1, 0.1 * 40**0.5 / worst, same), min(1, least))
    np.testing.assert_allclose(found, factor * full, rtol=1e-6)


def test_copies_of_an_adapter_are_that_adapter() -> None:
    for size in (0.001, 1.0):
        (one,) = of(size)
        found = merge([one, one], "clear", scale="auto").updates["q"].dense()
        np.testing.assert_allclose(found, one.updates["q"].dense(), rtol=1e-6)
