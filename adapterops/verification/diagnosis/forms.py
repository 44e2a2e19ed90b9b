"""What was done to an update or to a sum that no weight of the update explains: each by a formula for all entries looked at.

| form | the stored numbers are |
|---|---|
| zero | 0 |
| limited | the sum, or W and the update, with what is beyond ±c set to ±c |
| sparse | W and c times the update in some entries, W in all others |
| rank | W and the update without some of its ranks, in its factors or in its singular values |
| halves | W and the update with its two halves of rows, or of columns, in each other's place |
| transposed | Wᵀ and the update |
| magnitude | W and the update of DoRA as it is before rows get their lengths |
| separate | W and sums of Bᵢ Aⱼ of two adapters, which is what combining A's and B's separately comes to |
| codes of the sum | what codes of 4 or 8 bits make of W and the update |
| order, swapped | near to what the weight was with its rows in another order, or to another weight |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adapterops.verification.addends import Addend
from adapterops.verification.deltas import UNIT, Delta, is_dora, of_factors
from adapterops.verification.diagnosis.afterwards import codes_of_sum, moved
from adapterops.verification.diagnosis.conventions import explained, loosely
from adapterops.verification.diagnosis.fitting import fit
from adapterops.verification.diagnosis.likeness import RESEMBLING, resembles
from adapterops.verification.diagnosis.samples import Ground, Sample, Unit
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.rounding import Matrix

ZERO, LIMITED, SPARSE, RANK, HALVES, TRANSPOSED, SEPARATE, MAGNITUDE, QUANTIZED, ORDER, MOVED = (
    *("zero", "limited", "sparse", "rank", "halves", "transposed"),
    *("separate", "magnitude", "codes of the sum", "order", "swapped"),
)

SHARE = 0.02
"""Least part of the entries that a form has to explain, and of a weight that a product has to have."""

PAIRED = 32
"""Adapters of which products of one's B and another's A are looked for, at most: of n there are n²."""

ONE = np.ones(1)

Found = tuple[str, str]

Update = tuple[int, Addend, Any]
"""Of which adapter, where it adds, and what."""


def form(
    subject: Subject, unit: Unit, sample: Sample, weights: Matrix, ground: Ground | None, loose: float
) -> Found | None:
    """The first form that explains every entry looked at: its kind, and what it is; None where none does.

    Cost: the weight is read once more where it is square and looks transposed.
    """
    if not sample.M.any():
        return ZERO, "is zero in all entries looked at"
    return next(_forms(subject, unit, sample, weights, ground, loose), None)


def _forms(
    subject: Subject, unit: Unit, sample: Sample, weights: Matrix, ground: Ground | None, loose: float
) -> Iterator[Found]:
    tried = [np.ones(len(weights)), *([weights] if np.isfinite(weights).all() and (weights != 1).any() else [])]
    for each in tried:
        yield from _limited(sample, each, loose)
    updates = list(_updates(subject, unit))
    own = [each for each in updates if of_factors(each[2])]
    yield from _magnitude(subject, unit, updates, sample, loose)
    yield from _ranks(own, sample, loose)
    yield from _halves(subject, unit, own, sample, loose)
    for each in tried:
        yield from _sparse(sample, each, loose)
    yield from _transposed(subject, unit, own, sample, ground, loose)
    yield from _separate(own, sample, loose)
    own_base = sample if ground is None else subject.sample(unit)
    for each in tried:
        if says := codes_of_sum(subject, unit, own_base, each):
            yield QUANTIZED, f"is its sum quantized to {says} and back"
    if away := moved(subject, unit, sample):
        yield (ORDER if away[0] else MOVED), away[1]


def _limited(sample: Sample, weights: Matrix, loose: float) -> Iterator[Found]:
    S = sample.sum(weights)
    step = S - sample.W
    most = float(np.abs(sample.M).max())
    if np.count_nonzero(np.abs(S) > 1.01 * most) and explained(sample, weights, loose, np.clip(S, -most, most)):
        yield LIMITED, f"is limited to ±{most:.3g}: what its sum has beyond that is cut off"
    cut = np.abs(step) > 1.2 * np.abs(sample.D) + 2 * sample.half
    if not cut.any():
        return
    most = float(np.median(np.abs(sample.D[cut])))
    if most > 0 and explained(sample, weights, loose, sample.W + np.clip(step, -most, most)):
        yield LIMITED, f"holds its update limited to ±{most:.3g}: what is beyond that is cut off"


def _magnitude(
    subject: Subject, unit: Unit, updates: Sequence[Update], sample: Sample, loose: float
) -> Iterator[Found]:
    """Of DoRA the update without its magnitudes."""
    for k, place, update in updates:
        if is_dora(update):
            delta = subject.other(unit, sample, place, update.direction, place.transposed)
            rest = replace(sample, W=sample.sum(np.arange(len(sample.deltas)) != k))
            one = replace(rest, deltas=[delta], scaled=[sample.scaled[k]])
            yield from _if(one, MAGNITUDE, "holds its update without the magnitudes of DoRA", loose)


def _ranks(own: Sequence[Update], sample: Sample, loose: float) -> Iterator[Found]:
    """Of an update of factors which ranks, or singular values, are in a difference, all with one weight."""
    for k, place, update in own:
        if len(sample.deltas) > 1 and sum(delta.values.any() for delta in sample.deltas) > 1:
            return
        right = (update.B.T if place.transposed else update.A).astype(np.float64)
        rank, delta = len(right), sample.deltas[k]
        if rank < 2 or right.shape[1] != sample.W.shape[1] or not resembles(sample.D, delta.values):
            continue
        left = (update.A.T if place.transposed else update.B).astype(np.float64)
        core = np.linalg.qr(left)[1] @ right
        singular = np.linalg.svd(core, full_matrices=False)[2]
        for what, basis in (("largest singular values", singular), ("ranks of its factors", right)):
            back = np.linalg.pinv(basis)
            there, wanted = sample.D @ back, delta.values @ back
            parts = (there * wanted).sum(axis=0) / np.maximum(np.square(wanted).sum(axis=0), np.finfo(np.float64).tiny)
            kept = parts > 0.5 * parts.max()
            if kept.all():
                continue
            lower = replace(
                sample, deltas=[Delta(wanted[:, kept] @ basis[kept], delta.slack)], scaled=[sample.scaled[k]]
            )
            found = fit(lower)
            if explained(lower, found.weights, loose):
                times = "" if abs(found.weights[0] - 1) < 0.01 else f", times {found.weights[0]:.3g}"
                number = int(np.count_nonzero(kept))
                yield RANK, f"holds its update at rank {number} of {rank}, as {number} of its {rank} {what}{times}"
                return


def _halves(subject: Subject, unit: Unit, own: Sequence[Update], sample: Sample, loose: float) -> Iterator[Found]:
    for k, place, update in own:
        height, width = len(unit.rows), sample.W.shape[1]
        rest = replace(sample, W=sample.sum(np.arange(len(sample.deltas)) != k), scaled=[sample.scaled[k]])
        if height % 2 == 0:
            delta = subject.other(unit, sample, place, update, place.transposed, shift=height // 2)
            yield from _if(
                replace(rest, deltas=[delta]), HALVES, "holds its update with its two halves of rows swapped", loose
            )
        if width % 2 == 0:
            delta = Delta(*(np.roll(each, width // 2, axis=1) for each in sample.deltas[k]))
            yield from _if(
                replace(rest, deltas=[delta]), HALVES, "holds its update with its two halves of columns swapped", loose
            )


def _sparse(sample: Sample, weights: Matrix, loose: float) -> Iterator[Found]:
    """Entries that are the base's, and a multiple of the update in the others."""
    step = sample.sum(weights) - sample.W
    none = ~loosely(sample, 0 * weights, loose)
    shown = np.abs(step) > 8 * sample.half
    if np.count_nonzero(shown & none) < SHARE * step.size or np.count_nonzero(shown & ~none) < SHARE * step.size:
        return
    some = replace(
        sample,
        W=sample.W[~none][None],
        M=sample.M[~none][None],
        deltas=[Delta(delta.values[~none][None], delta.slack[~none][None]) for delta in sample.deltas],
    )
    found = fit(some)
    if not explained(some, found.weights, loose):
        return
    part, sizes = np.count_nonzero(shown & ~none) / np.count_nonzero(shown), np.abs(step)
    if sizes[shown & none].max() <= 1.2 * sizes[shown & ~none].min():
        which = f"holds its update in its largest entries alone ({part:.0%} of them)"
    else:
        which = f"holds its update in {part:.0%} of its entries, as if others were dropped at random"
    times = " and ".join(f"{weight:.3g}" for weight in found.weights)
    yield SPARSE, which + ("" if np.allclose(found.weights, 1, atol=0.01) else f", times {times}")


def in_lines(wrong: Matrix, changed: Matrix) -> bool:
    """Whether all wrong entries are in rows, or in columns, of which nothing changed."""
    return any(not (wrong.any(axis=axis) & changed.any(axis=axis)).any() for axis in (0, 1))


def _transposed(
    subject: Subject, unit: Unit, own: Sequence[Update], sample: Sample, ground: Ground | None, loose: float
) -> Iterator[Found]:
    """Where the weight itself is the other way round."""
    size = sample.W.shape[1]
    before = subject.below(unit.tensor, ground)
    if subject.model.layout[unit.tensor].matrix != (size, size) or len(unit.rows) != size or unit.seen is not None:
        return
    rows, W = sample.rows, np.empty_like(sample.W)
    step = max(1, subject.entries // size)
    for begin in range(0, size, step):
        part = slice(begin, min(begin + step, size))
        W[:, part] = before(part.start, part.stop)[:, rows].T
        if begin == 0 and not resembles(sample.M[:, part], W[:, part]):
            return
    swapped = replace(sample, W=W)
    yield from _if(swapped, TRANSPOSED, "is the base's weight transposed, and its update", loose)
    for k, place, update in own:
        delta = subject.other(unit, sample, place, update, not place.transposed)
        one = replace(swapped, deltas=[delta], scaled=[sample.scaled[k]])
        yield from _if(one, TRANSPOSED, "is its sum of weight and update transposed", loose)


def _separate(own: Sequence[Update], sample: Sample, loose: float) -> Iterator[Found]:
    """B and A of adapters in all pairs: with weights of products of one's B and another's A, that are not zero.

    Cost: of n adapters of rank r the products of their factors, n² unknowns, and one ΔW.
    """
    if not 2 <= len(own) <= PAIRED or len({(place.transposed, each.A.shape) for _, place, each in own}) > 1:
        return
    left, right = [], []
    for _, place, update in own:
        one, other = (update.A.T, update.B.T) if place.transposed else (update.B, update.A)
        left.append(update.scale * one[place.first + sample.rows].astype(np.float64))
        right.append(other.astype(np.float64))
    basis = np.linalg.qr(np.concatenate(right).T)[0]
    there, chance = np.square(sample.D @ basis).sum(), basis.shape[1] / len(basis)
    if there < (chance + RESEMBLING**2 * (1 - chance)) * np.square(sample.D).sum():
        return  # it is in these directions no more than anything is
    factors = _pairs(left, right, sample.D)
    combined = [np.tensordot(each, right, 1) for each in factors]
    sizes = [np.tensordot(np.abs(each), np.abs(right), 1) for each in factors]
    slack = UNIT * (len(right[0]) + 2) * np.sum([np.abs(L) @ each for L, each in zip(left, sizes, strict=True)], axis=0)
    delta = Delta(np.sum([L @ each for L, each in zip(left, combined, strict=True)], axis=0), slack)
    crossed = np.abs(factors - np.diag(np.diag(factors))).max()
    if crossed > SHARE and explained(replace(sample, deltas=[delta], scaled=[sample.scaled[own[0][0]]]), ONE, loose):
        yield (
            SEPARATE,
            "holds products of the B of one adapter and the A of another, as if A's and B's were combined separately",
        )


def _pairs(left: Sequence[Matrix], right: Sequence[Matrix], D: Matrix) -> Matrix:
    """c of the Σ c[i, j] left[i] right[j] that is nearest to D, from small matrices: the dot product of two such products is
    that of leftᵀ left and right rightᵀ.
    """
    L, R = np.stack(left), np.stack(right)
    count = len(L)
    lefts = np.einsum("ira,nrb->inab", L, L, optimize=True).reshape(count**2, -1)
    rights = np.einsum("jac,mbc->jmab", R, R, optimize=True).reshape(count**2, -1)
    among = (lefts @ rights.T).reshape((count,) * 4).swapaxes(1, 2)
    with_D = np.tensordot(L.transpose(0, 2, 1) @ D, R, ([1, 2], [1, 2]))
    found: Matrix = np.linalg.lstsq(among.reshape(count**2, -1), with_D.ravel(), rcond=1e-12)[0]
    return found.reshape(count, count)


def _if(sample: Sample, kind: str, what: str, loose: float) -> Iterator[Found]:
    if not any(resembles(sample.D, delta.values) for delta in sample.deltas):
        return
    found = fit(sample)
    if np.abs(found.weights).max() > SHARE and explained(sample, found.weights, loose):
        times = " and ".join(f"{weight:.3g}" for weight in found.weights)
        yield kind, what + ("" if np.allclose(found.weights, 1, atol=0.01) else f", times {times}")


def _updates(subject: Subject, unit: Unit) -> Iterator[Update]:
    for k, (adapter, places) in enumerate(zip(subject.adapters, subject.places(unit.tensor), strict=True)):
        for place in places:
            if place.rows == unit.rows and place.columns == unit.columns:
                yield k, place, adapter.updates[place.source]


ALIKE = {
    LIMITED: "numbers are cut off at a limit",
    SPARSE: "only some entries of the updates are in it",
    RANK: "the updates are in it at a lower rank",
    TRANSPOSED: "the updates or the weights are transposed",
    MAGNITUDE: "the magnitudes of DoRA are left out",
    SEPARATE: "it is as if A's and B's were combined separately",
    QUANTIZED: "it is their sum, quantized and dequantized",
    ORDER: "rows of weights are in another order",
}
"""What is so of a model where it is so of every module."""
