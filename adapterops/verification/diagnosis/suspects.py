"""What a unit is, that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adapterops.verification.deltas import of_factors
from adapterops.verification.diagnosis.causes import as_if
from adapterops.verification.diagnosis.conventions import explained, loosely
from adapterops.verification.diagnosis.finite import not_finite
from adapterops.verification.diagnosis.fitting import Fit, fit
from adapterops.verification.diagnosis.forms import TRANSPOSED, form, in_lines
from adapterops.verification.diagnosis.judging import Guess, Judged, typed
from adapterops.verification.diagnosis.samples import Ground, Sample, Subject, Unit
from adapterops.verification.place import Place
from adapterops.verification.rounding import Matrix

MOST = 64
"""Other places that are tried for one unit."""

MISSING, SCALED, SWAPPED, PARTLY, OTHER, NOT_FINITE = (
    *("missing", "scale", "swapped", "partly", "changed"),
    "not finite",
)

RESEMBLING = 0.1
"""Least cosine of a difference with an update that may be it: unlike ones have less by far, and equal ones more, but where
rounding is ten times as large as the update."""

CODES, UNREADABLE = "codes", "is in codes that cannot be decoded here"


@dataclass(frozen=True)
class Finding:
    """Something that is not what it should be: of which kind, where, and what."""

    kind: str
    place: str
    what: str


def suspect(subject: Subject, judged: Judged, guess: Guess, ground: Ground | None, loose: float) -> Finding:
    """Why a unit is not what a guess says: the first of what is known that explains all entries looked at.

    Cost: the unit is read again, and ΔW formed for at most `MOST` other places of its shape.
    """
    unit, sample = judged.unit, subject.sample(judged.unit, ground)
    assert sample is not None  # it was judged
    place = subject.place(unit)
    if not np.isfinite(sample.M).all():
        what = not_finite(subject.model.stored[unit.tensor])
        return Finding(NOT_FINITE, place, what or "stands for NaN or infinity in some entries")
    if judged.unchanged:
        return Finding(MISSING, place, "is the base's: the update is not in it")
    own = fit(sample)
    if sample.dtype is None:
        return Finding(SCALED, place, f"holds {_weights(own)} of the update")
    if explained(sample, own.weights, loose):
        return Finding(SCALED, place, _scaled(sample, own))
    for kind, what, tried in _others(subject, unit, sample, guess):
        found = fit(tried)
        if explained(tried, found.weights, loose) and abs(found.weights).max() > 0.05:
            return Finding(kind, place, what)
    weights = guess.of(sample.scaled)
    wrong = loosely(sample, weights, loose)
    if in_lines(wrong, sample.changed):
        return Finding(PARTLY, place, f"is the base's in {wrong.mean():.0%} of what was looked at")
    known = form(subject, unit, sample, weights, ground, loose)
    if known:
        return Finding(known[0], place, known[1])
    if wrong.mean() < 0.5:
        rows = np.flatnonzero(wrong.any(axis=1)).size / len(wrong)
        return Finding(
            PARTLY, place, f"is right in all but {wrong.mean():.2g} of its entries, in {rows:.2g} of its rows"
        )
    step = sample.sum(weights) - sample.W
    size, norms = np.linalg.norm(sample.D), np.linalg.norm(step)
    cosine = float((sample.D * step).sum()) / max(size * norms, np.finfo(np.float64).tiny)
    return Finding(
        OTHER,
        place,
        f"is changed by something else: {size / max(norms, np.finfo(np.float64).tiny):.3g} times the norm of the update,"
        f" cosine with it {cosine:.2f}",
    )


def _weights(found: Fit) -> str:
    return " and ".join(f"{weight:.3g}" for weight in typed(found))


def _scaled(sample: Sample, found: Fit) -> str:
    looks = as_if(float(typed(found)[0]), [each for each in sample.scaled if each]) if len(found.weights) == 1 else []
    return f"holds {_weights(found)} of the update" + (f", as if {' or '.join(looks)}" if looks else "")


def _others(subject: Subject, unit: Unit, sample: Sample, guess: Guess) -> Iterator[tuple[str, str, Sample]]:
    """Updates of other places, transposed ones, and those of the factors of two, as a sample that has only them."""
    weights, few = guess.of(sample.scaled), subject.few_rows(unit)
    for k, places in enumerate(_alike(subject, unit)):
        rest = sample.sum(np.where(np.arange(len(weights)) == k, 0, weights))
        for kind, what, other in _other_updates(subject.adapters[k].updates, unit, places[:MOST]):
            if not _resembles((sample.M - rest)[:few], subject.other(unit, *other, few=True).values):
                continue
            delta = subject.other(unit, *other)
            yield kind, what, replace(sample, W=rest, deltas=[delta], scaled=[sample.scaled[k]])


def _other_updates(
    updates: Mapping[str, Any], unit: Unit, places: Sequence[Place]
) -> Iterator[tuple[str, str, tuple[Place, Any, bool]]]:
    """What may be in a unit instead of its update: an update, as at which place, and whether transposed."""
    own = next((each for each in places if each.source == unit.module and each.rows == unit.rows), None)
    mine: Any = updates[own.source] if own else None
    if own and len(unit.rows) == unit.columns.stop - unit.columns.start:
        yield TRANSPOSED, "holds its update transposed", (own, mine, not own.transposed)
    for place in places:
        if place is own:
            continue
        its, name = updates[place.source], place.source
        yield SWAPPED, f"holds the update of {name}", (place, its, place.transposed)
        if own and of_factors(mine) and of_factors(its) and mine.A.shape == its.A.shape:
            yield SWAPPED, f"holds its B and the A of {name}", (own, replace(mine, A=its.A), own.transposed)
            yield SWAPPED, f"holds its A and the B of {name}", (place, replace(its, A=mine.A), place.transposed)


def _resembles(difference: Matrix, delta: Matrix) -> bool:
    """Whether it is worth a closer look."""
    norms = np.linalg.norm(difference) * np.linalg.norm(delta)
    return bool(abs(np.vdot(difference, delta)) >= RESEMBLING * norms)


def _alike(subject: Subject, unit: Unit) -> list[Sequence[Place]]:
    """Of every adapter the places that have the shape of a unit, those nearest by name first."""
    shape = len(unit.rows), unit.columns.stop - unit.columns.start
    above = unit.module.rpartition(".")[0]
    found: list[Sequence[Place]] = []
    for each in subject.witnesses:
        places = {
            (place.source, place.first): place
            for wanted in each.wanted.values()
            for place in wanted.places
            if (len(place.rows), place.columns.stop - place.columns.start) == shape
            and not each.adapter.layout[place.source].needs_base
        }
        found.append(sorted(places.values(), key=lambda place: _distance(place.source, above, unit.module)))
    return found


def _distance(source: str, above: str, module: str) -> tuple[bool, bool, str]:
    return not source.startswith(f"{above}."), source.rpartition(".")[2] != module.rpartition(".")[2], source
