"""What differs least from several matrices, where their inputs go."""

from __future__ import annotations

import numpy as np

from adapterops.linalg.regression import nearest, strength


def test_the_gradient_is_zero_at_the_least() -> None:
    random = np.random.default_rng(0)
    matrices = list(random.standard_normal((3, 5, 4)))
    grams = [each.T @ each for each in random.standard_normal((3, 2, 4))]
    prior, ridge = random.standard_normal((5, 4)), 0.3
    found = nearest(matrices, grams, prior, ridge)
    slopes = sum((found - each) @ gram for each, gram in zip(matrices, grams, strict=True))
    np.testing.assert_allclose(slopes + ridge * (found - prior), 0, atol=1e-12)


def test_where_no_input_goes_it_is_the_prior() -> None:
    gram = np.diag([1.0, 0.0])
    found = nearest([np.array([[2.0, 5.0]])], [gram], np.array([[7.0, 3.0]]), 1e-9)
    np.testing.assert_allclose(found, [[2.0, 3.0]], atol=1e-6)


def test_the_strength_is_that_of_the_sum() -> None:
    random = np.random.default_rng(1)
    grams = [each.T @ each for each in random.standard_normal((3, 2, 4))]
    assert np.isclose(strength(grams), np.linalg.norm(sum(grams), 2))
