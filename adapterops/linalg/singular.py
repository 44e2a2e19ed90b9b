"""Singular vectors of small matrices, and which of them count."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adapterops.arrays.device import SMALL, device, home, sent
from adapterops.arrays.finite import all_finite
from adapterops.errors import InputError
from adapterops.updates.protocol import Array

NEGLIGIBLE = 1e-3
"""A direction whose singular value is at most this fraction of the largest is none: rounding to 16 bits makes such ones.
It is the cut of TSV-Merge's own code."""


class Directions(NamedTuple):
    """U diag(values) Vᵀ: U (out, k) and V (in, k) have columns of length 1."""

    U: Array
    values: Array
    V: Array

    def matrix(self, values: Array) -> Array:
        """U diag(values) Vᵀ, with other values."""
        product: Array = (self.U * values) @ self.V.T
        return product


def svd(matrix: Array) -> tuple[Array, Array, Array]:
    """U, the singular values, largest first, and Vᵀ.

    Raises:
        InputError: the matrix has numbers that are NaN or infinite.
    """
    way = device(double=True) if isinstance(matrix, np.ndarray) and min(matrix.shape) >= SMALL else None
    if way:
        u, s, vt = map(home, svd(sent(matrix, way)))
        return u, s, vt
    try:
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        if not all_finite(home(matrix)):
            raise InputError(
                "has numbers that are NaN or infinite, of which there is no SVD", code="E-NONFINITE"
            ) from None
        # the divide-and-conquer driver gave up; on the transpose it takes another path
        v, s, ut = np.linalg.svd(matrix.T, full_matrices=False)
        u, vt = ut.T, v.T
    return u, s, vt


def leading(matrix: Array, largest: float | None = None) -> Directions:
    """The directions of a matrix that are not negligible relative to `largest`, by default its own largest singular value.

    >>> leading(np.diag([1e-4, 4.0, 2.0])).values.tolist()
    [4.0, 2.0]
    """
    u, s, vt = svd(matrix)
    count = int(np.count_nonzero(s > NEGLIGIBLE * (s[:1].sum() if largest is None else largest)))
    return Directions(u[:, :count], s[:count], vt[:count].T)


def side_by_side(parts: list[Directions]) -> Directions:
    """The directions of all parts, which need not be orthogonal to each other."""
    return Directions(
        np.concatenate([part.U for part in parts], axis=1),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.V for part in parts], axis=1),
    )


def orthogonalized(directions: Directions) -> Directions:
    """The nearest orthonormal U and V: their polar factors, in which directions that depend on others have no part.

    Where columns are not independent the polar factor is not unique, and that of the truncated SVD does not depend on
    their order.
    """
    return Directions(_polar(directions.U), directions.values, _polar(directions.V))


def _polar(columns: Array) -> Array:
    found = leading(columns)
    return found.matrix(np.ones_like(found.values))
