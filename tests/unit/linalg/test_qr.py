"""QR by Cholesky against Householder's."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.linalg import qr
from adapterops.linalg.qr import check_core, orthonormal, triangle


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e5, 1e7, 1e12, np.inf])
@pytest.mark.parametrize("shape", [(300, 12), (20, 12), (5, 12), (40, 1)])
def test_a_qr_is_one_whatever_the_condition(shape: tuple[int, int], condition: float) -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal(shape) @ np.diag(
        np.geomspace(1, 1 / condition, shape[1]) if condition < np.inf else np.eye(shape[1])[0]
    )
    matrix = matrix @ random.standard_normal((shape[1], shape[1]))
    Q, R = orthonormal(matrix)
    size = np.linalg.norm(matrix)
    assert np.allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-12)
    assert np.linalg.norm(Q @ R - matrix) <= 1e-13 * size
    assert np.linalg.norm(triangle(matrix).T @ triangle(matrix) - matrix.T @ matrix) <= 1e-13 * size**2


def test_a_well_conditioned_matrix_needs_no_householder(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).standard_normal((300, 12))
    monkeypatch.setattr(np.linalg, "qr", None)
    Q, R = orthonormal(matrix)
    assert np.allclose(Q @ R, matrix)
    monkeypatch.setattr(qr, "CONDITION", 1.0)
    with pytest.raises(TypeError):
        orthonormal(matrix)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_has_no_singular_values_says_what_to_do(number: float) -> None:
    with pytest.raises(InputError, match="NaN or infinite, or too large for singular values") as caught:
        check_core(np.array([[1.0, number]]))
    assert (caught.value.hint or "").startswith("use another checkpoint of the training")
