"""What became of weights after the sum: they went through codes, or stand in another's place, or their rows do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adapterops.verification.decoding import decoder
from adapterops.verification.diagnosis.grounds import THROUGH, Codes
from adapterops.verification.diagnosis.likeness import natural, spread
from adapterops.verification.diagnosis.samples import Sample, Unit
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.rounding import Matrix, half_step, rounded_to

EDGES = 0.02
"""Of the entries that may have the code next to the nearest: the sum was rounded before, in a way that is not known."""

OWN, OTHER = 0.5, 0.7
"""Cosines: a weight whose cosine with its own before is above the first is not looked for elsewhere, and what has one above the
second with another's is near to that.
"""

ROWS, NAMES = 8, 64
"""Rows that are compared with those of others, and tensors whose rows these are: those with the nearest names."""


def codes_of_sum(subject: Subject, unit: Unit, sample: Sample, weights: Matrix) -> str | None:
    """In words the codes of `THROUGH` whose nearest ones to W + Σ w ΔW of a sample the stored numbers are."""
    if sample.dtype is None or unit.seen is not None or not np.isfinite(weights).all():
        return None
    height, width = subject.model.layout[unit.tensor].matrix
    if sample.M.shape[1] != width:
        return None
    S = sample.sum(weights)
    for codes in THROUGH.values():
        parts = list(_whole(sample, unit, codes.rows(width), height))
        for exact in (rounded_to(S, sample.dtype), S) if parts else ():
            shares = (_off(sample, codes, exact, part) for part in parts)
            if all(share <= EDGES for share in shares):
                return codes.says
    return None


def _off(sample: Sample, codes: Codes, exact: Matrix, part: slice) -> float:
    """Which share of some entries are not what codes make of the sum."""
    M, found = sample.M[part], codes.back(exact[part])
    off = ~(np.abs(M - found) <= codes.loose * np.abs(found) + 2 * half_step(M, str(sample.dtype)))
    return float(off.mean())


def _whole(sample: Sample, unit: Unit, step: int, height: int) -> Iterator[slice]:
    """The rows of a sample that are coded together, where all of these are in it."""
    at = 0
    for part in sample.parts:
        begin, end = unit.rows.start + part.start, unit.rows.start + part.stop
        first, last = -(-begin // step) * step, end if end == height else end // step * step
        if first < last:
            yield slice(at + first - begin, at + last - begin)
        at += end - begin


def moved(subject: Subject, unit: Unit, sample: Sample) -> tuple[bool, str] | None:
    """What a weight is near to, where that is not what it was: rows of its own in another order, or another weight of the base,
    for which the first is False.

    Cost: its own weight is read once, and some rows of `NAMES` others.
    """
    before = subject.below(unit.tensor)
    height, width = subject.model.layout[unit.tensor].matrix
    whole = len(unit.rows) == height and sample.M.shape[1] == width
    if unit.seen is not None or not whole or _cosine(sample.M, sample.W) > OWN:
        return None
    chosen = spread(len(sample.M), ROWS)
    rows, M = sample.rows[chosen], _unit(sample.M[chosen])
    best, where = np.full(len(rows), -1.0), np.zeros(len(rows), int)
    step = max(1, subject.entries // width)
    for begin in range(0, height, step):
        cosines = M @ _unit(before(begin, min(begin + step, height))).T
        better = cosines.max(axis=1) > best
        where[better], best[better] = begin + cosines.argmax(axis=1)[better], cosines.max(axis=1)[better]
    if (best > OTHER).all() and (changed := np.flatnonzero(where != rows)).size:
        one = changed[0]
        return True, f"has its rows in another order: its row {rows[one]} is near the base's row {where[one]}"
    for name in _others(subject, unit):
        found = decoder(subject.witnesses[0].base.stored[name], rounded=True)
        if _cosine(M, np.concatenate([_unit(found(row, row + 1)) for row in rows.tolist()])) > OTHER:
            return False, f"is near the base's {name.removesuffix('.weight')}, and not to what it was"
    return None


def _others(subject: Subject, unit: Unit) -> list[str]:
    """Tensors of a base that have the shape of a unit's, those with the nearest names first."""
    layout = subject.witnesses[0].base.layout
    shape = subject.model.layout[unit.tensor].shape
    names = sorted((name for name, spec in layout.items() if spec.shape == shape), key=natural)
    at = names.index(unit.tensor) if unit.tensor in names else 0
    return sorted((name for name in names if name != unit.tensor), key=lambda name: abs(names.index(name) - at))[:NAMES]


def _unit(rows: Matrix) -> Matrix:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Matrix = rows / np.where(norms > 0, norms, 1.0)
    return found


def _cosine(one: Matrix, other: Matrix) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / norms if norms > 0 else 0.0
