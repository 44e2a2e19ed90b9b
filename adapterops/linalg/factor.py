"""The singular value decomposition of an update, from its factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import DTypeLike

from adapterops.arrays.device import DeviceArray, device, home, placed_like, sent, way_of
from adapterops.arrays.parallel import in_parallel, matrix
from adapterops.arrays.scratch import lent
from adapterops.errors import InputError, OptionError
from adapterops.linalg.qr import check_core, orthonormal, triangle
from adapterops.linalg.singular import svd
from adapterops.updates.dense import Dense
from adapterops.updates.layout import OVERSAMPLING, searched
from adapterops.updates.lowrank import LowRank, gram, tiles, zero
from adapterops.updates.merged import Merged
from adapterops.updates.protocol import Array, Linear, all_rows, norm, norm_by_rows
from adapterops.updates.sums import Sum

GAIN = 0.01
"""A Krylov block that raises the energy caught by less than this fraction is the last."""

PIECE = 1 << 22
"""Entries of a matrix that are multiplied at a time, by any thread: as fast as all at once, and the same pieces on any number of
threads. Nothing is added up over them.
"""

ROUNDING = 1e-6
"""Energies that differ by less than this fraction are the same in float32."""


def spectrum(update: LowRank) -> Array:
    """The singular values of ΔW, largest first, in float64: min(out, in, r) of them.

    >>> update = LowRank([[3.0], [4.0]], [[0.0, 1.0]], scale=2.0)
    >>> spectrum(update).tolist()
    [10.0]

    Cost: O((out + in) r² + r³) time, O((out + in) r) memory.
    """
    values: Array = np.linalg.svd(_core(update)[2], compute_uv=False)
    return values


def reduced(update: Linear, rank: int, exact: bool = False) -> LowRank:
    """An update with at most `rank` dimensions, whatever its form:
    by its factors where it has some, else by its entries.
    """
    factors = update.lowrank()
    if factors is None:
        with all_entries(update, matrix if not exact and searched(update.shape, rank) else lent) as dense:
            return factorize(dense, rank, exact=exact)
    return truncate(factors, rank)


Memory = Callable[[Sequence[int], DTypeLike], AbstractContextManager[Array]]


@contextmanager
def all_entries(update: Linear, memory: Memory = lent) -> Iterator[Dense]:
    """All entries of an update, on the device that this thread computes on; good until the block ends.

    Args:
        memory: for a block in which all that takes long is done together, `matrix`.
    """
    way = device()
    if way is None and isinstance(update, Merged):
        update.begin()
        with memory(update.shape, update.dtype) as W:
            update.into(W)
            yield Dense(W, update.error, update.near)
        return
    W = all_rows(update, way=way) if isinstance(update, Merged) else sent(update.dense(), way)
    yield Dense(W, update.error, update.near)


Rows = Callable[[slice], Array]


def moved(update: LowRank, B: Rows, A: Rows) -> float:
    """‖scale · B₀ A₀ - B A‖_F for factors of the same shapes that are nearly those of the update.

    The difference is D A₀ + B C with D = scale · B₀ - B and C = A₀ - A: what is small is subtracted before it is
    multiplied, so that nothing cancels. Its squared norm is ⟨DᵀD, A₀A₀ᵀ⟩ + 2 ⟨DᵀB, A₀Cᵀ⟩ + ⟨BᵀB, CCᵀ⟩.

    Args:
        B, A: some rows of B, and some columns of A as rows: no more than a tile of them is there at a time.

    Cost: these (r, r) matrices, in float64, of the rows of D and columns of C that are not zero; none where neither
        factor has moved.

    >>> moved(LowRank(np.array([[1.0]]), np.array([[2.0]])), np.array([[1.5]]).__getitem__, np.array([[2.0]]).__getitem__)
    1.0
    """
    B0, A0 = update.B, update.A
    same = all(np.array_equal(A0.T[tile], A(tile)) for tile in tiles(*A0.T.shape))
    wide = B0.dtype if folds_exactly(update) else np.float64

    def scaled(rows: slice) -> bool:
        return np.array_equal(np.multiply(B0[rows], update.scale, dtype=wide), B(rows))

    if same and all(scaled(tile) for tile in tiles(*B0.shape)):
        return 0.0

    def down(rows: slice) -> tuple[Array, Array]:
        stored = B(rows).astype(np.float64)
        return np.multiply(B0[rows], update.scale, dtype=np.float64) - stored, stored

    def along(columns: slice) -> tuple[Array, Array]:
        exact = A0.T[columns].astype(np.float64)
        return exact - A(columns), exact

    with np.errstate(all="ignore"):
        DD, DB = _of_changes(B0.shape, down, only_changes=same)
        squares = float((DD * update.across()).sum())
        if not same:
            CC, CA = _of_changes(A0.T.shape, along)
            squares += float(2 * (DB * CA.T).sum() + (gram(len(B0), B0.shape[1], B) * CC).sum())
    return math.sqrt(squares) if squares > 0 else 0.0


def _of_changes(
    shape: tuple[int, ...], rows: Callable[[slice], tuple[Array, Array]], only_changes: bool = False
) -> tuple[Array, Array]:
    """XᵀX and XᵀY in float64, of a matrix X of this shape that is mostly zeros, and a Y: `rows` has some of both at a
    time. `only_changes`: without XᵀY.
    """
    square, mixed = np.zeros((shape[1],) * 2), np.zeros((shape[1],) * 2)
    for tile in tiles(shape[0], 4 * shape[1]):  # several in float64 at a time
        X, Y = rows(tile)
        if not (there := (X != 0).any(axis=1)).all():
            X, Y = X[there], Y[there]
        square += X.T @ X
        if not only_changes:
            mixed += X.T @ Y
    return square, mixed


def folds_exactly(update: LowRank) -> bool:
    """Whether the scale is a power of two, which moves no bit of a fraction: B times the scale is the product itself."""
    return math.frexp(update.scale)[0] in (0.5, -0.5)


def truncate(update: LowRank, rank: int) -> LowRank:
    """The best approximation of `update` with at most `rank` dimensions.

    Best in Frobenius and spectral norm (Eckart-Young). Works on the factors: QR of B and of Aᵀ, then an SVD of the
    (r, r) core, so the (out, in) matrix is never formed, and neither are the orthonormal factors of the QRs.

    Args:
        update: B is (out, r), A is (r, in); computed in float64.
        rank: dimensions kept, at least 0; from r on, an equal update is returned.

    Returns:
        A LowRank with scale 1 and the singular values shared evenly between B and A, in float64. Its `error` is that of
        `update` plus the tail of the singular values. Where fewer than `rank` singular values differ from zero, the
        columns that are left are zero.

    Raises:
        OptionError: rank is negative.

    Cost: O((out + in) r² + r³) time, O((out + in) r) memory.
    Source: Eckart & Young 1936.
    Differs: PEFT's `svd` and kohya's resize decompose the dense update.
    """
    if rank < 0:
        raise OptionError(f"the rank must be at least 0, got {rank}")
    return update if rank >= update.rank else balanced(update, rank)


def balanced(update: LowRank, rank: int | None = None) -> LowRank:
    """The same update, or its best approximation with `rank` dimensions, with B = U √Σ and A = √Σ Vᵀ, in float64.

    One form for all factors of one ΔW, up to signs: the largest entry of every column of U is positive. Dimensions that
    cannot be told from rounding are zero.
    """
    rank = update.rank if rank is None else rank
    Rb, Ra, core, B, A = _core(update)
    u, s, vt = svd(core)
    kept = min(rank, len(s))
    inverse_root = np.zeros(rank)
    real = s[:kept] > _null(s, update.shape)
    inverse_root[:kept][real] = update.scale / np.sqrt(s[:kept][real])
    # ΔW v_k = scale · B Raᵀ v, and likewise on the left: the singular vectors without forming either Q.
    left = B @ _widen(Ra.T @ vt[:kept].T, rank) * inverse_root
    right = (inverse_root * _widen(Rb.T @ u[:, :kept], rank)).T @ A
    signs = (
        np.copysign(1.0, np.take_along_axis(left, np.abs(left).argmax(axis=0)[None], axis=0))
        if len(left)
        else np.ones((1, rank))
    )
    return LowRank(left * signs, signs.T * right, error=update.error + math.sqrt(float(np.square(s[rank:]).sum())))


def factorize(update: Dense, rank: int, *, exact: bool = False) -> LowRank:
    """The best approximation of a dense update with `rank` dimensions, or one that is nearly so.

    By a randomized block Krylov method. It starts from the leading directions of `update.near`, or from random ones of
    a fixed seed, and adds blocks until one raises the energy caught by less than one percent: a matrix whose spectrum
    falls slowly gets more of them. The `error` is measured, not estimated. With `exact`, or where the matrix is small,
    by a full SVD in float64.

    On a device, where the entries are there, and then float32 has other last bits: what is found differs from what a processor
    finds by 1e-5 of the norm at most, where the spectrum says which directions lead.

    Cost: 4 · out · in · (rank + 2) multiplications, and 2 more for each block after the second; exact: O(out · in ·
        min(out, in)).
    Source: Musco & Musco 2015, arXiv:1504.05477.
    """
    W = update.weight if isinstance(update.weight, DeviceArray) else np.ascontiguousarray(update.weight)
    rank = min(rank, *W.shape)
    if rank == 0:
        return replace(zero(update.shape, W.dtype), error=update.norm())
    block = rank + OVERSAMPLING
    if exact or not searched(update.shape, rank):
        u, s, vt = svd(W.astype(np.float64, copy=False))
        u, s, vt = home(u), home(s), home(vt)
        root = np.sqrt(s[:rank])
        return LowRank(u[:, :rank] * root, root[:, None] * vt[:rank], error=math.sqrt(float(np.square(s[rank:]).sum())))
    total = norm(W) ** 2
    if not math.isfinite(total):
        raise InputError("has numbers that are NaN or infinite, or too large for singular values", code="E-NONFINITE")
    left, projected = _krylov(W, placed_like(_start(W, update.near, block), W), rank, total)
    right, R = orthonormal(projected.T.astype(np.float64))  # ΔW ≈ leftᵀ Rᵀ rightᵀ
    u, s, vt = svd(R.T)
    root = np.sqrt(s[:rank])
    B, A = left.T @ (u[:, :rank] * root).astype(W.dtype), ((root[:, None] * vt[:rank]) @ right.T).astype(W.dtype)
    found = LowRank(home(B), home(A))
    return replace(found, error=_distance(W, found, total - float(np.square(s[:rank]).sum()), total))


def _start(W: Array, near: LowRank | None, block: int) -> Array:
    """`block` rows to start from, (block, in): the leading directions of `near`, filled up with random ones.

    Random ones alone where `near` has as many dimensions as W: to find those that lead would take longer than the search.
    """
    random = np.random.default_rng(0)
    if near is None or near.rank >= min(W.shape):
        return random.standard_normal((block, W.shape[1]), dtype=np.float32).astype(W.dtype)
    core = triangle(near.B.astype(np.float64)) @ near.A  # its right singular vectors are those of B A
    leading = np.linalg.eigh(core @ core.T)[1][:, -block:].T @ core
    size = np.linalg.norm(leading)  # which the random rows should not drown in, nor drown
    leading = leading / size if size else leading
    return np.concatenate([leading, random.standard_normal((block - len(leading), W.shape[1]))]).astype(W.dtype)


def _krylov(W: Array, start: Array, rank: int, total: float) -> tuple[Array, Array]:
    """Orthonormal rows L (k, out), and L W (k, in),
    that hold nearly all of the energy that `rank` dimensions can; `total` is ‖W‖_F².
    """
    left = _orthonormal(_times(start, W.T))
    projected = _times(left, W)
    caught = 0.0
    while True:
        wide = projected.astype(np.float64)
        energies = np.linalg.eigvalsh(wide @ wide.T)  # the squared singular values of L W
        before, caught = caught, float(energies[-rank:].sum())
        enough = caught - before < GAIN * caught or total - float(energies.sum()) < ROUNDING * total
        if enough or len(left) + len(start) > min(W.shape):
            return left, projected
        block = _times(_orthonormal(projected[-len(start) :]), W.T)
        for _ in range(2):  # what is left of a block that adds nothing is rounding, and has to be cleaned again
            block = _orthonormal(block - (block @ left.T) @ left)
        left, projected = np.concatenate([left, block]), np.concatenate([projected, _times(block, W)])


def _times(rows: Array, W: Array) -> Array:
    """rows @ W, some columns of W at a time, by several threads."""
    if way_of(W):
        return rows @ W
    found, width = np.empty((len(rows), W.shape[1]), W.dtype), max(1, PIECE // len(W))

    def piece(first: int) -> None:
        columns = slice(first, first + width)
        np.matmul(rows, W[:, columns], out=found[:, columns])

    in_parallel(piece, range(0, W.shape[1], width))
    return found


def _orthonormal(rows: Array) -> Array:
    """An orthonormal basis of the row space, as rows: few and long, in which form the products with W are fastest."""
    found = orthonormal(rows.T.astype(np.float64))[0].T.astype(rows.dtype)
    return found if isinstance(found, DeviceArray) else np.ascontiguousarray(found)


def _distance(W: Array, projection: LowRank, rest: float, total: float) -> float:
    """‖W - projection‖_F. The projection is orthogonal; `rest` is what its squared norm lacks of the `total`."""
    if rest > 1e-4 * total:
        return math.sqrt(rest)
    if way := way_of(W):  # the difference of squares has cancelled
        return norm(W - all_rows(projection, way=way))
    return norm_by_rows(Sum([Dense(W), -1 * projection]))


def _core(update: LowRank) -> tuple[Array, Array, Array, Array, Array]:
    """Rb, Ra and scale · Rb Raᵀ, whose singular values are those of ΔW;
    Rb is the R of B's QR, Ra that of Aᵀ. And B and A in float64.
    """
    B, A = update.B.astype(np.float64, copy=False), update.A.astype(np.float64, copy=False)
    for factor in (B, A):
        check_core(factor)
    Rb, Ra = triangle(B), triangle(A.T)
    with np.errstate(all="ignore"):
        core = check_core(update.scale * (Rb @ Ra.T))
    return Rb, Ra, core, B, A


def _null(s: Array, shape: tuple[int, int]) -> float:
    """What a singular value must exceed to be told from rounding."""
    return float(s[:1].sum()) * max(shape) * float(np.finfo(np.float64).eps)


def _widen(matrix: Array, columns: int) -> Array:
    return np.pad(matrix, ((0, 0), (0, columns - matrix.shape[1])))
