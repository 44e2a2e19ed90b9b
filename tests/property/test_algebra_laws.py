"""Updates and adapters are a vector space; truncation is the best approximation."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SCALARS, adapters, dense, entries, low_rank, same_shaped, updates

from adapterops import Adapter, LowRank
from adapterops.linalg import factor
from adapterops.updates.lowrank import zero

close = torch.testing.assert_close


@given(same_shaped(), SCALARS, SCALARS)
def test_dense_is_linear(pair: list[LowRank], c: float, d: float) -> None:
    x, y = pair
    close(entries(c * x + d * y), c * entries(x) + d * entries(y))


@given(updates())
def test_zero_and_inverse(x: LowRank) -> None:
    close(entries(zero(x.shape) + x).double(), entries(x))
    close(entries(x - x), torch.zeros_like(entries(x)), atol=1e-12, rtol=0)


@given(adapters(), SCALARS, SCALARS)
def test_adapters_add_as_their_updates_do(pair: list[Adapter], c: float, d: float) -> None:
    a, b = pair
    found, left, right = dense(c * a - d * b), dense(a), dense(b)
    for name in found:
        close(found[name], c * left[name] - d * right[name])


@given(st.integers(0, 10**6), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_merge_identity(seed: int, dtype: torch.dtype) -> None:
    """(W0 + sBA) x = W0 x + s B (A x), within what the dtype can tell."""
    random = np.random.default_rng(seed)
    update = low_rank(seed, 8, 6, 3, 0.5, dtype)
    W, x = (random.standard_normal(shape).astype(update.dtype) for shape in ((8, 6), 6))
    left = (W + update.dense()) @ x
    right = W @ x + update.scale * (update.B @ (update.A @ x))
    magnitude = (np.abs(W) + update.scale * np.abs(update.B) @ np.abs(update.A)) @ np.abs(x)
    assert (np.abs(left - right) <= 20 * np.finfo(update.dtype).eps * magnitude).all()


@given(updates(), st.integers(0, 12), st.integers(0, 10**6))
def test_truncation_is_best(x: LowRank, rank: int, seed: int) -> None:
    small = factor.truncate(x, rank)
    if rank >= x.rank:
        close(entries(small), entries(x))
        return
    values = torch.linalg.svdvals(entries(x))
    tail = float(values[rank:].square().sum().sqrt())
    error = float((entries(x) - entries(small)).norm())
    assert abs(error - tail) <= 1e-9 * (1 + x.norm())
    assert abs(small.error - error) <= 1e-9 * (1 + x.norm())
    other = low_rank(seed, *x.shape, rank)
    rival = small + 0.1 * other if rank else other
    assert float((entries(x) - entries(factor.truncate(rival, rank))).norm()) >= error - 1e-9 * (1 + x.norm())


@given(updates(), st.integers(0, 6))
def test_truncated_factors_are_balanced(x: LowRank, rank: int) -> None:
    small = factor.truncate(x, rank)
    if rank < x.rank:
        close(small.B.T @ small.B, small.A @ small.A.T, atol=1e-9, rtol=1e-9)
