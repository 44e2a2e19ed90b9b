"""The laws of updates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adapterops.updates.protocol import Array, Linear


def check_update(update: Linear) -> None:
    """The laws of one linear update, within the rounding of its dtype.

    Entries are linear in it, a part agrees with the whole, T is the transpose, norm and lowrank are those of the
    entries.
    """
    W = update.dense().astype(np.float64)
    close = _within(64 * float(np.finfo(update.dtype).eps) * max(float(np.linalg.norm(W)), 1e-30))
    assert W.shape == update.shape
    close((update + update).dense(), 2 * W, "x + x = 2 x")
    close((-0.5 * update).dense(), -0.5 * W, "(c x) has c times the entries of x")
    close((update + -1.0 * update).dense(), np.zeros_like(W), "x - x = 0")
    close(update.T.dense(), W.T, "T is the transpose")
    out, into = update.shape
    for part in (
        (slice(out // 3, out), slice(0, into // 2 + 1)),
        (slice(out // 3, out), slice(0, into)),
        (slice(1, out, 2), slice(0, into, 3)),
    ):
        block = np.empty(W[part].shape, update.dtype)
        close(update.rows(part, block), W[part], "a part agrees with the whole")
        close(update.change(part, np.zeros_like(block), np.empty_like(block)), W[part], "change is that of the entries")
    close(np.array(update.norm()), np.array(np.linalg.norm(W)), "norm is that of the entries")
    factors = update.lowrank()
    if factors is not None:
        close(factors.dense(), W, "lowrank has the same entries")


def _within(tolerance: float) -> Callable[[Array, Array, str], None]:
    def close(found: Array, expected: Array, law: str) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=law)

    return close
