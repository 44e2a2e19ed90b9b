"""With which weights updates are in a model: least squares that know how coarse the model's numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapterops.verification.diagnosis.samples import Sample
from adapterops.verification.rounding import Matrix

ROUNDS = 40
"""Of moving the sum into what the stored numbers allow."""

ALIKE = 1e-7
"""Least part of the largest eigenvalue that a direction needs to be told from the others."""


@dataclass(frozen=True)
class Fit:
    """Weights of K updates in some entries, and what is known of them: the inverse of `information` is their covariance."""

    weights: Matrix
    information: Matrix

    @property
    def errors(self) -> Matrix:
        """Standard deviations; infinite for an adapter that nothing shows the weight of."""
        scale = _scale(self.information)
        values, vectors = np.linalg.eigh(self.information / np.outer(scale, scale))
        known = values > ALIKE * max(values[-1], np.finfo(np.float64).tiny)
        variance = np.square(vectors[:, known]) @ (1 / values[known])
        blurred = (np.square(vectors[:, ~known]) > 1e-3).any(axis=1)
        errors: Matrix = np.where(blurred, np.inf, np.sqrt(variance) / scale)
        return errors


def _scale(information: Matrix) -> Matrix:
    """What makes the diagonal one, where it is not zero."""
    diagonal = np.diag(information)
    scale: Matrix = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return scale


def _inverse(information: Matrix) -> Matrix:
    """Of what the entries tell: directions that they do not are left at zero."""
    scale = _scale(information)
    found: Matrix = np.linalg.pinv(information / np.outer(scale, scale), rcond=ALIKE, hermitian=True)
    found /= np.outer(scale, scale)
    return found


def fit(sample: Sample) -> Fit:
    """Weights w with which W + Σ w ΔW comes as near as possible to numbers that the stored ones may be rounded from.

    Least squares of M - W, every entry by the step that it was rounded with; then what is left is moved into half a step,
    which takes away that small updates vanish in large weights: an entry that rounding left as it was says little.
    """
    values = np.stack([delta.values.ravel() for delta in sample.deltas])
    D, half = sample.D.ravel(), sample.half.ravel()
    variance = np.square(half) / 3 + np.square(2.0**-9 * values).sum(axis=0) + np.finfo(np.float64).tiny
    weighted = values / variance
    information: Matrix = weighted @ values.T
    inverse = _inverse(information)
    weights = inverse @ (weighted @ D)
    lower, left, within = -half, np.empty_like(D), np.empty_like(D)
    for _ in range(ROUNDS if sample.dtype is not None else 0):
        np.subtract(D, np.matmul(weights, values, out=left), out=left)
        np.minimum(np.maximum(left, lower, out=within), half, out=within)
        step = inverse @ (weighted @ np.subtract(left, within, out=left))
        weights = weights + step
        if not np.any(np.abs(step) > 1e-7 * (np.abs(weights) + 1e-12)):
            break
    return Fit(weights, information)


def joint(fits: Sequence[Fit]) -> Fit:
    """What several fits show of the same weights, each as much as it knows."""
    information = np.sum([each.information for each in fits], axis=0)
    right = np.sum([each.information @ each.weights for each in fits], axis=0)
    return Fit(_inverse(information) @ right, information)
