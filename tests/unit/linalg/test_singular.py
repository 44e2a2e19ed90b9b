"""Leading directions and polar factors."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.linalg.singular import NEGLIGIBLE, leading, orthogonalized, side_by_side, svd


def matrix(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_leading_directions_are_those_above_the_cut() -> None:
    U, V = np.linalg.qr(matrix(0, 8, 4))[0], np.linalg.qr(matrix(1, 6, 4))[0]
    values = np.array([3.0, 1.0, 3.1 * NEGLIGIBLE, 2.9 * NEGLIGIBLE])
    found = leading((U * values) @ V.T)
    np.testing.assert_allclose(found.values, values[:3])
    np.testing.assert_allclose(found.matrix(found.values), (U[:, :3] * values[:3]) @ V[:, :3].T, atol=1e-14)
    assert len(leading((U * values) @ V.T, largest=2000.0).values) == 1


def test_nothing_has_no_directions() -> None:
    assert leading(np.zeros((4, 3))).values.shape == (0,)
    assert not orthogonalized(leading(np.zeros((4, 3)))).matrix(np.zeros(0)).any()


def test_independent_columns_become_the_nearest_orthonormal_ones() -> None:
    both = side_by_side([leading(matrix(2, 9, 8)[:, :2]), leading(matrix(3, 9, 8)[:, :2])])
    found = orthogonalized(both)
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(4), atol=1e-13)
    gram = both.U.T @ both.U  # polar(X) = X (XᵀX)^(-1/2)
    w, Q = np.linalg.eigh(gram)
    np.testing.assert_allclose(found.U, both.U @ (Q / np.sqrt(w)) @ Q.T, atol=1e-12)


def test_dependent_columns_do_not_depend_on_their_order() -> None:
    one = leading(matrix(4, 9, 8)[:, :2])
    twice = orthogonalized(side_by_side([one, one]))
    np.testing.assert_allclose(twice.matrix(twice.values), one.matrix(one.values), atol=1e-13)


def test_what_is_not_finite_is_named() -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        svd(np.full((3, 3), np.nan))
