"""QR of tall matrices from their Gram matrices, in float64."""

from __future__ import annotations

import numpy as np

from adapterops.arrays.finite import check_all_finite
from adapterops.updates.protocol import Array

CONDITION = 1e6
"""Up to which the Gram matrix of a factor is decomposed: its square times the rounding of float64 is far below 1."""

ONCE = 500.0
"""Up to which once is enough for R: its square times the rounding of float64 is 1e-10."""


def triangle(matrix: Array) -> Array:
    """R of the QR of a tall matrix, in float64, without its Q, to 1e-10 of its norm or better.

    By Cholesky of the Gram matrix. Where its columns are not nearly independent twice: the second pass, on a matrix
    that is nearly orthonormal, makes it as exact as Householder's QR, in less time. Where they are too close to
    dependent for that, Householder's.

    Source: Yamamoto et al. 2015, CholeskyQR2.
    """
    with np.errstate(all="ignore"):
        first = _cholesky(matrix)
        if first is not None and first[2] < ONCE:
            return first[0]
        second = None if first is None else _cholesky(matrix @ first[1])
    if first is None or second is None:
        return np.asarray(np.linalg.qr(matrix, mode="r"))
    return second[0] @ first[0]


def orthonormal(matrix: Array) -> tuple[Array, Array]:
    """Q and R of a tall matrix, in float64, to rounding: as `triangle`, always twice or Householder's."""
    near, last, R = halves(matrix)
    return (near if last is None else near @ last), R


def halves(matrix: Array) -> tuple[Array, Array | None, Array]:
    """Q of `orthonormal` as the product of a tall matrix and a small one, None for 1, and R: who multiplies Q with another
    small matrix has one product as large as the matrix less.
    """
    with np.errstate(all="ignore"):
        first = _cholesky(matrix)
        near = None if first is None else matrix @ first[1]
        second = None if near is None else _cholesky(near)
    if first is None or near is None or second is None:
        Q, R = np.linalg.qr(matrix)
        return Q, None, R
    return near, second[1], second[0] @ first[0]


def _cholesky(matrix: Array) -> tuple[Array, Array, float] | None:
    """R by the Gram matrix, its inverse, and its condition;
    None where the columns are too close to dependent for that.
    """
    if matrix.shape[0] <= 2 * matrix.shape[1]:
        return None
    try:
        R = np.linalg.cholesky(matrix.T @ matrix).T
        inverse = np.linalg.inv(R)
    except np.linalg.LinAlgError:
        return None
    condition = float(np.linalg.norm(R) * np.linalg.norm(inverse)) / max(1, len(R))
    return (R, inverse, condition) if condition < CONDITION else None


def check_core(core: Array) -> Array:
    """The core, if it has singular values.

    Raises:
        InputError: it has numbers that are NaN or infinite.
    """
    check_all_finite(
        core,
        "has numbers that are NaN or infinite, or too large for singular values",
        hint="use another checkpoint of the training; such numbers can be added where they are allowed, and not decomposed",
    )
    return core
