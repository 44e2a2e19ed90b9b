"""What a unit is, that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from adapterops.verification.diagnosis.causes import as_if
from adapterops.verification.diagnosis.conventions import explained, loosely
from adapterops.verification.diagnosis.finite import not_finite
from adapterops.verification.diagnosis.fitting import Fit, fit
from adapterops.verification.diagnosis.forms import TRANSPOSED, form, in_lines
from adapterops.verification.diagnosis.judging import Guess, Judged, typed
from adapterops.verification.diagnosis.likeness import Likeness
from adapterops.verification.diagnosis.samples import Ground, Sample, Unit

MISSING, SCALED, SWAPPED, PARTLY, OTHER, NOT_FINITE = (
    *("missing", "scale", "swapped", "partly", "changed"),
    "not finite",
)

CODES = "codes"


@dataclass(frozen=True)
class Symptom:
    """Something that is not what it should be: of which kind, where, and what."""

    kind: str
    place: str
    what: str


def suspect(
    alike: Likeness, judged: Judged, guess: Guess, ground: Ground | None, loose: float, sample: Sample
) -> Symptom:
    """Why a unit is not what a guess says: the first of what is known that explains all entries of its sample.

    Cost: ΔW is formed for those other updates of its shape that a few of its entries resemble.
    """
    subject, unit = alike.subject, judged.unit
    place = subject.place(unit)
    if not np.isfinite(sample.M).all():
        what = not_finite(subject.model.stored[unit.tensor])
        return Symptom(NOT_FINITE, place, what or "stands for NaN or infinity in some entries")
    if judged.look.unchanged:
        return Symptom(MISSING, place, "is the base's: the update is not in it")
    own = judged.look.fit
    if sample.dtype is None:
        return Symptom(SCALED, place, f"holds {_weights(own)} of the update")
    if judged.look.explained:
        return Symptom(SCALED, place, _scaled(sample, own))
    for kind, what, tried in _others(alike, unit, sample, guess):
        found = fit(tried)
        if explained(tried, found.weights, loose) and abs(found.weights).max() > 0.05:
            return Symptom(kind, place, what)
    weights = guess.of(sample.scaled)
    wrong = loosely(sample, weights, loose)
    if in_lines(wrong, sample.changed):
        return Symptom(PARTLY, place, f"is the base's in {wrong.mean():.0%} of what was looked at")
    known = form(subject, unit, sample, weights, ground, loose)
    if known:
        return Symptom(known[0], place, known[1])
    if wrong.mean() < 0.5:
        rows = np.flatnonzero(wrong.any(axis=1)).size / len(wrong)
        return Symptom(
            PARTLY, place, f"is right in all but {wrong.mean():.2g} of its entries, in {rows:.2g} of its rows"
        )
    step = sample.sum(weights) - sample.W
    size, norms = np.linalg.norm(sample.D), np.linalg.norm(step)
    cosine = float((sample.D * step).sum()) / max(size * norms, np.finfo(np.float64).tiny)
    return Symptom(
        OTHER,
        place,
        f"is changed by something else: {size / max(norms, np.finfo(np.float64).tiny):.3g} times the norm of the update,"
        f" cosine with it {cosine:.2f}",
    )


def _weights(found: Fit) -> str:
    return " and ".join(f"{weight:.3g}" for weight in typed(found))


def _scaled(sample: Sample, found: Fit) -> str:
    looks = as_if(float(typed(found)[0]), [each for each in sample.scaled if each]) if len(found.weights) == 1 else []
    return f"holds {_weights(found)} times the update" + (f", as if {' or '.join(looks)}" if looks else "")


def _others(alike: Likeness, unit: Unit, sample: Sample, guess: Guess) -> Iterator[tuple[str, str, Sample]]:
    """Updates of other places, transposed ones, and those of the factors of two, as a sample that has only them."""
    weights, subject = guess.of(sample.scaled), alike.subject
    for k, adapter in enumerate(subject.adapters):
        rest = sample.sum(np.where(np.arange(len(weights)) == k, 0, weights))
        for each in alike.candidates(unit, k, sample.rows, sample.M - rest):
            update = each.update(adapter.updates)
            delta = subject.other(unit, sample, each.begins(update), update, each.transposed)
            yield (
                TRANSPOSED if each.swapped else SWAPPED,
                each.what,
                replace(sample, W=rest, deltas=[delta], scaled=[sample.scaled[k]]),
            )
