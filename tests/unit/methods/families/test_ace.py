"""ACE-Merging against the formula of its authors, and where this differs from it."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, several

from adapterops.updates.protocol import Array


def authors(updates: list[Array], epsilon: float, *, centred: bool, prior: bool, limit: float, kept: int) -> Array:
    """What the authors' `ace_merging` computes of one weight, in float64; each of its steps that differ here can be left out."""
    size = updates[0].shape[1]
    traces = np.array([np.trace(each.T @ each) for each in updates])
    uneven = np.log(traces).var(ddof=1) > limit
    raw = [each - each.mean(axis=0, keepdims=True) if centred else each for each in updates]
    covariances, ridges = [], []
    for each in raw:
        covariance = each.T @ each
        trace = np.trace(covariance) if uneven else 1.0
        covariances.append(covariance / trace)
        ridges.append(epsilon / trace * np.eye(size))
    total = sum(c + r for c, r in zip(covariances, ridges, strict=True))
    pulled = sum(x @ (c + r) for x, c, r in zip(raw, covariances, ridges, strict=True))
    row = sum(covariances).mean(axis=0, keepdims=True) / (traces.mean() if uneven else 1.0)
    result = pulled @ np.linalg.inv(total + row if prior else total)
    if not uneven:
        return result
    rest = sum(x @ (c - total / len(raw)) for x, c in zip(raw, covariances, strict=True))
    u, s, vt = np.linalg.svd(rest + result, full_matrices=False)
    return result + s[:kept].mean() * u[:, :kept] @ vt[:kept]


def parts(seed: int, factors: tuple[float, ...]) -> list[Array]:
    updates = several(seed, (5, 6, 4), (30, 24))
    return [factor * each.dense() for factor, each in zip(factors, updates, strict=True)]


def epsilon(updates: list[Array], ridge: float, uneven: bool) -> float:
    """The authors' number for which theirs is our ridge."""
    shares = [1 / np.square(each).sum() if uneven else 1.0 for each in updates]
    total = sum(share * each.T @ each for share, each in zip(shares, updates, strict=True))
    return ridge * np.linalg.eigvalsh(total)[-1] / sum(shares)


@pytest.mark.parametrize(("factors", "uneven"), [((1.0, -1.0, 0.9), False), ((1.0, 3.0, 0.2), True)])
@pytest.mark.parametrize("ridge", [0.01, 0.5])
@pytest.mark.parametrize("space", ["core", "delta"])
def test_it_is_the_authors_formula_in_units_of_the_updates(
    factors: tuple[float, ...], uneven: bool, ridge: float, space: str
) -> None:
    updates = several(3, (5, 6, 4), (30, 24))
    deltas = parts(3, factors)
    expected = authors(
        deltas, epsilon(deltas, ridge, uneven), centred=False, prior=False, limit=1.0, kept=int(0.3 * 15)
    )
    found = merged(updates, "ace", weights=list(factors), ridge=ridge, uneven=1.0, space=space)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_the_prior_of_the_authors_halves_one_direction_of_the_inputs_and_does_nothing_else() -> None:
    deltas = parts(4, (1.0, 1.0, 1.0))
    small = 1e-12 * np.square(deltas[0]).sum()
    full = [each + 0.1 * np.random.default_rng(9).standard_normal(each.shape) for each in deltas]
    plain, drawn = (authors(full, small, centred=False, prior=prior, limit=9.0, kept=0) for prior in (False, True))
    same = np.full((24, 1), 24**-0.5)
    np.testing.assert_allclose(drawn, plain - 0.5 * plain @ same @ same.T, atol=1e-5 * np.abs(plain).max())


def test_larger_updates_give_the_same_kind_of_result_which_is_not_so_of_the_authors() -> None:
    deltas = parts(5, (1.0, 2.0, 1.0))
    options = {"centred": True, "prior": True, "limit": 9.0, "kept": 0}
    theirs = authors(deltas, 0.01, **options)
    assert np.linalg.norm(authors([0.01 * each for each in deltas], 0.01, **options) - 0.01 * theirs) > 1e-3 * (
        np.linalg.norm(0.01 * theirs)
    )
    updates = several(5, (5, 6, 4), (30, 24))
    large = merged([100.0 * each for each in updates], "ace")
    np.testing.assert_allclose(large, 100 * merged(updates, "ace"), rtol=1e-9)


def test_one_adapter_and_copies_of_one_are_themselves_and_nothing_is_nothing() -> None:
    one = low_rank(0, 12, 10, 3)
    for several_of_it in ([one], [one, one, one]):
        np.testing.assert_allclose(merged(several_of_it, "ace"), one.dense(), atol=1e-10)
    assert not merged([0.0 * one, 0.0 * one], "ace").any()
    np.testing.assert_allclose(merged([one, 0.0 * one], "ace"), one.dense(), atol=1e-10)
