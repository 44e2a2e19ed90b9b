"""The laws of updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

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


def check_change(update: Any, W: Array, reads: str) -> None:
    """The laws of one update that depends on its weight, within the rounding of float64.

    What it changes in a part is that part of what it changes in all, T is that of the transposed weight, and 1 times it is
    the same. A side of its shape that only the weight says is a field of it; `on` all of the weight, or on the number of
    its inputs, it is LoRA with the same entries.

    Args:
        W: a weight that it fits, (out, in) in float64.
        reads: what it has to see of that at a time, as `Kind` has it.
    """
    out, into = W.shape
    close = _within(1e-9 * max(float(np.linalg.norm(W)), 1.0))
    if reads != "shape" and update.shape != W.shape:
        stated = {each.name for each in fields(update)}
        assert "shape" in stated, (
            f"{type(update).__name__} has the shape {update.shape}, and no field `shape` to replace"
        )
        update = replace(update, shape=W.shape)
    every = slice(0, out), slice(0, into)
    whole = update.change(every, W, np.empty_like(W)).copy()
    close(update.T.change(every[::-1], W.T, np.empty_like(W.T)), whole.T, "T is that of the transposed weight")
    if reads not in ("weight", "shape"):
        close((1 * update).change(every, W, np.empty_like(W)), whole, "1 x = x")
    rows, columns = slice(out // 3, out), slice(0, into // 2 + 1)
    part = {"entries": (rows, columns), "rows": (rows, every[1]), "shape": (rows, every[1])}.get(reads, every)
    close(update.change(part, W[part], np.empty_like(W[part])), whole[part], "a part agrees with the whole")
    if reads in ("weight", "shape"):
        made = update.on(W if reads == "weight" else into)
        close(made.rows(every, np.empty_like(W)), whole, "on its weight it is LoRA")


def _within(tolerance: float) -> Callable[[Array, Array, str], None]:
    def close(found: Array, expected: Array, law: str) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=law)

    return close
