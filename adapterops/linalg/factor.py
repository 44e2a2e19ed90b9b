"""The singular value decomposition of an update, from its factors."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from adapterops.errors import InputError, OptionError
from adapterops.finite import all_finite
from adapterops.updates.dense import Dense, norm
from adapterops.updates.lowrank import LowRank, zero

OVERSAMPLING = 2
GAIN = 0.01
"""A Krylov block that raises the energy caught by less than this fraction is the last."""

ROUNDING = 1e-6
"""Energies that differ by less than this fraction are the same in float32."""


def spectrum(update: LowRank) -> Tensor:
    """The singular values of ΔW, largest first, in float64: min(out, in, r) of them.

    >>> update = LowRank(torch.tensor([[3.0], [4.0]]), torch.tensor([[0.0, 1.0]]), scale=2.0)
    >>> spectrum(update).tolist()
    [10.0]

    Cost: O((out + in) r² + r³) time, O((out + in) r) memory.
    """
    values: Tensor = torch.linalg.svdvals(_core(update)[2])
    return values


def truncate(update: LowRank, rank: int) -> LowRank:
    """The best approximation of `update` with at most `rank` dimensions.

    Best in Frobenius and spectral norm (Eckart-Young). Works on the factors: QR of B and of Aᵀ, then an SVD of the
    (r, r) core, so the (out, in) matrix is never formed, and neither are the orthonormal factors of the QRs.

    Args:
        update: B is (out, r), A is (r, in); any float dtype, computed in float64.
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
    if rank >= update.rank:
        return update
    Rb, Ra, core = _core(update)
    u, s, vt = _svd(core)
    tail = float(s[rank:].square().sum().sqrt())
    kept = min(rank, len(s))
    inverse_root = torch.zeros(rank, dtype=torch.float64)
    inverse_root[:kept] = torch.where(s[:kept] > _null(s, update.shape), s[:kept].rsqrt() * update.scale, 0.0)
    # ΔW v_k = scale · B Raᵀ v, and likewise on the left: the singular vectors without forming either Q.
    B = update.B.double() @ _widen(Ra.T @ vt[:kept].T, rank) * inverse_root
    A = (inverse_root * _widen(Rb.T @ u[:, :kept], rank)).T @ update.A.double()
    return LowRank(B, A, error=update.error + tail)


def factorize(update: Dense, rank: int, *, exact: bool = False) -> LowRank:
    """The best approximation of a dense update with `rank` dimensions, or one that is nearly so.

    By a randomized block Krylov method. It starts from the leading directions of `update.near`, or from random ones of a
    fixed seed, and adds blocks until one raises the energy caught by less than one percent: a matrix whose spectrum falls
    slowly gets more of them. The `error` is measured, not estimated. With `exact`, or where the matrix is small, by a full
    SVD in float64.

    Cost: 4 · out · in · (rank + 2) multiplications, and 2 more for each block after the second; exact: O(out · in · min(out, in)).
    Source: Musco & Musco 2015, arXiv:1504.05477.
    """
    W = update.weight.to(torch.promote_types(update.weight.dtype, torch.float32))
    rank = min(rank, *W.shape)
    if rank == 0:
        return replace(zero(update.shape, W.dtype), error=update.norm())
    block = rank + OVERSAMPLING
    if exact or 3 * block >= min(W.shape):
        u, s, vt = _svd(W.double())
        root = s[:rank].sqrt()
        return LowRank(u[:, :rank] * root, root[:, None] * vt[:rank], error=float(s[rank:].square().sum().sqrt()))
    total = norm(W) ** 2
    if not math.isfinite(total):
        raise InputError("has numbers that are NaN or infinite, or too large for singular values", code="E-NONFINITE")
    left, projected = _krylov(W, _start(W, update.near, block), rank, total)
    right, R = torch.linalg.qr(projected.T)  # ΔW ≈ leftᵀ Rᵀ rightᵀ
    u, s, vt = _svd(R.T.double())
    root = s[:rank].sqrt()
    result = LowRank(left.T @ (u[:, :rank] * root).to(W.dtype), (root[:, None] * vt[:rank]).to(W.dtype) @ right.T)
    return replace(result, error=_distance(W, result, total - float(s[:rank].square().sum()), total))


def _start(W: Tensor, near: LowRank | None, block: int) -> Tensor:
    """`block` rows to start from, (block, in): the leading directions of `near`, filled up with random ones."""
    generator = torch.Generator().manual_seed(0)
    if near is None:
        return torch.randn(block, W.shape[1], generator=generator, dtype=W.dtype)
    core = torch.linalg.qr(near.B.to(W.dtype), mode="r").R @ near.A.to(W.dtype)  # its right singular vectors are those of B A
    leading = torch.linalg.eigh(core.double() @ core.double().T).eigenvectors[:, -block:].T.to(W.dtype) @ core
    return torch.cat([leading, torch.randn(block - len(leading), W.shape[1], generator=generator, dtype=W.dtype)])


def _krylov(W: Tensor, start: Tensor, rank: int, total: float) -> tuple[Tensor, Tensor]:
    """Orthonormal rows L (k, out), and L W (k, in), that hold nearly all of the energy that `rank` dimensions can; `total` is ‖W‖_F²."""
    left = _orthonormal(start @ W.T)
    projected = left @ W
    caught = 0.0
    while True:
        energies = torch.linalg.eigvalsh(projected.double() @ projected.double().T)  # the squared singular values of L W
        before, caught = caught, float(energies[-rank:].sum())
        enough = caught - before < GAIN * caught or total - float(energies.sum()) < ROUNDING * total
        if enough or len(left) + len(start) > min(W.shape):
            return left, projected
        block = _orthonormal(projected[-len(start) :]) @ W.T
        for _ in range(2):  # what is left of a block that adds nothing is rounding, and has to be cleaned again
            block = _orthonormal(block - (block @ left.T) @ left)
        left, projected = torch.cat([left, block]), torch.cat([projected, block @ W])


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of the row space, as rows: few and long, in which form the products with W are fastest."""
    basis: Tensor = torch.linalg.qr(rows.T).Q.T
    return basis


def _distance(W: Tensor, projection: LowRank, rest: float, total: float) -> float:
    """‖W - projection‖_F. The projection is orthogonal; `rest` is what its squared norm lacks of the `total`."""
    if rest > 1e-4 * total:
        return math.sqrt(rest)
    return norm(W - projection.dense())  # the difference of squares has cancelled


def _core(update: LowRank) -> tuple[Tensor, Tensor, Tensor]:
    """Rb, Ra and scale · Rb Raᵀ, whose singular values are those of ΔW; Rb is the R of B's QR, Ra that of Aᵀ."""
    Rb = torch.linalg.qr(update.B.double(), mode="r").R
    Ra = torch.linalg.qr(update.A.double().T, mode="r").R
    core = update.scale * (Rb @ Ra.T)
    if not all_finite(core):
        raise InputError("has numbers that are NaN or infinite, or too large for singular values", code="E-NONFINITE")
    return Rb, Ra, core


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    try:
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    except RuntimeError:
        if not all_finite(matrix):
            raise InputError("has numbers that are NaN or infinite, of which there is no SVD", code="E-NONFINITE") from None
        # the divide-and-conquer driver gave up; on the transpose it takes another path
        v, s, ut = torch.linalg.svd(matrix.T, full_matrices=False)
        u, vt = ut.T, v.T
    return u, s, vt


def _null(s: Tensor, shape: tuple[int, int]) -> float:
    """What a singular value must exceed to be told from rounding."""
    return float(s[:1].sum()) * max(shape) * torch.finfo(torch.float64).eps


def _widen(matrix: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(matrix, (0, columns - matrix.shape[1]))
