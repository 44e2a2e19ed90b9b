"""Every unit of a model against one guess of what the model is: the weights of the updates, the ground, the rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

import numpy as np

from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.verification.diagnosis.causes import CAUSES, Scaled
from adapterops.verification.diagnosis.conventions import (
    Convention,
    Dtypes,
    distinct,
    explained,
    few_enough,
    loosely,
    off,
)
from adapterops.verification.diagnosis.fitting import Fit, fit, joint
from adapterops.verification.diagnosis.samples import Ground, Sample, Unit
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.rounding import Matrix

FEW = 8
"""Units that are tried first, of which most are like the rest."""

SURE = 5.0
"""Standard deviations that a fitted weight may be off by."""

CLOSE = 0.003
"""Part of a weight that it may be off by: what 16-bit arithmetic with it may do."""

NEAR = 0.01
"""The same, where no convention explains every entry."""

CODES = 0.15
"""Part of an update that may be lost in codes before it counts as lost."""


@dataclass(frozen=True)
class Look:
    """What a first look at a unit shows, before anything is guessed.

    Attributes:
        unchanged: it is the ground, in all entries looked at.
        explained: with weights of its own, it is the ground and the updates.
        scaled: how each adapter's update is scaled there; None where it has none.
        left: ‖M - W - Σ w ΔW‖² and ‖M - W‖².
    """

    unit: Unit
    fit: Fit
    unchanged: bool
    explained: bool
    scaled: Sequence[Scaled | None]
    left: tuple[float, float]
    quantized: bool


@dataclass(frozen=True)
class Guess:
    """What a model may be: weights of every adapter for every unit."""

    weights: Matrix
    says: str = ""
    factor: int | None = None
    """Of which cause the weight of a single adapter is, which is then another for every scale."""

    def of(self, scaled: Sequence[Scaled | None]) -> Matrix:
        if self.factor is None or scaled[0] is None:
            return self.weights
        value = CAUSES[self.factor].factor(scaled[0])
        return np.array([np.nan if value is None else value])


@dataclass(frozen=True)
class Judged:
    """A unit under a guess, and how it looked before.

    Attributes:
        off: entries that it does not explain, of `entries` looked at.
        seen: the guess says that something changed there.
        convention: the rounding that explains all of it; None where none does exactly.
        kept: ⟨M - W, Σ w ΔW⟩ and ‖Σ w ΔW‖².
    """

    look: Look
    off: int
    entries: int
    seen: bool
    convention: Convention | None
    kept: tuple[float, float] = field(default=(0.0, 0.0))

    @property
    def unit(self) -> Unit:
        return self.look.unit

    @property
    def right(self) -> bool:
        return not self.off


def look(subject: Subject, unit: Unit, ground: Ground | None = None, loose: float = 0.0) -> Look:
    """The weights of a unit alone, and what they explain of it."""
    sample = subject.sample(unit, ground)
    if not np.isfinite(sample.D).all():  # which tells nothing of the weights
        count = len(sample.deltas)
        nothing = Fit(np.zeros(count), np.zeros((count, count)))
        return Look(unit, nothing, False, False, sample.scaled, (0.0, 0.0), sample.dtype is None)
    found = fit(sample)
    left = (float(np.square(sample.M - sample.sum(found.weights)).sum()), float(np.square(sample.D).sum()))
    known = sample.dtype is None or explained(sample, found.weights, loose)
    return Look(unit, found, sample.unchanged, known, sample.scaled, left, sample.dtype is None)


def looks(subject: Subject, how: Execution, ground: Ground | None = None, loose: float = 0.0) -> list[Look]:
    """A look at every unit."""
    return list(local.run(lambda unit: look(subject, unit, ground, loose), subject.units, how=how))


def guesses(found: Sequence[Look]) -> list[Guess]:
    """What the model may be, the likeliest first: as trained, then what a factor looks like, then what units show."""
    count = len(found[0].fit.weights)
    ones = [Guess(np.ones(count))]
    if count == 1:
        ones += [Guess(np.ones(1), cause.says, index) for index, cause in enumerate(CAUSES)]
    changed = [each for each in found if not each.unchanged and each.explained] or list(found)
    own = [Guess(each.fit.weights) for each in changed[:: max(1, len(changed) // 48)]]
    return [*ones, *([Guess(joint([each.fit for each in changed]).weights)] if count > 1 else []), *own]


def agrees(look: Look, guess: Guess, close: float = CLOSE) -> bool:
    """Whether the weights of a unit are those of a guess, as well as they are known: what the two differ by, in standard
    deviations of what rounding leaves, or as a part of the update, `close` where it is not in codes.
    """
    expected, known = guess.of(look.scaled), look.fit.information
    off = look.fit.weights - expected
    part = CODES if look.quantized else close
    return bool(off @ known @ off <= len(off) * SURE**2 + part**2 * (expected @ known @ expected))


def best(found: Sequence[Look]) -> Guess:
    """The guess that most units agree with that can be explained, the first of equals; as trained where there are none.
    Weights that no name is known for are those of all units that agree.
    """
    able = [each for each in found if each.explained and not each.unchanged]
    if not able:
        return Guess(np.ones(len(found[0].fit.weights)))
    scores = [(sum(agrees(each, guess) for each in able), guess) for guess in guesses(found)]
    most = max(score for score, _ in scores)
    guess = next(guess for score, guess in scores if score == most)
    if guess.says or np.all(guess.weights == 1):
        return guess
    return Guess(typed(joint([each.fit for each in able if agrees(each, guess)] or [each.fit for each in able])))


def typed(found: Fit) -> Matrix:
    """Fitted weights as somebody may have typed them."""
    return np.array([rounded(*pair) for pair in zip(found.weights, found.errors, strict=True)])


def rounded(weight: float, error: float) -> float:
    """A weight as somebody may have typed it, where it is one within what is known of it.

    >>> rounded(0.70002, 1e-5), rounded(0.7123, 1e-5), rounded(1 / 3, 1e-5)
    (0.7, 0.7123, 0.3333333333333333)
    """
    for parts in (20, 100, 3) if np.isfinite(error) else ():
        typed = round(weight * parts) / parts
        if abs(typed - weight) <= 4 * error + 1e-3 * abs(weight):
            return typed
    return float(weight)


def is_typed(weight: float) -> bool:
    """Whether somebody may have chosen it: hundredths, or parts of a small number, such as that of the adapters.

    >>> is_typed(0.73), is_typed(1 / 7), is_typed(8**-0.5)
    (True, True, False)
    """
    return any(
        abs(round(weight * parts) - weight * parts) <= 5e-4 * abs(weight * parts) for parts in (*range(1, 33), 100)
    )


@dataclass(frozen=True)
class Trial:
    """A guess, with the ground and the conventions to try."""

    subject: Subject
    guess: Guess
    ground: Ground | None
    loose: float
    conventions: Sequence[Convention]

    def sample(self, unit: Unit) -> Sample:
        return self.subject.sample(unit, self.ground)

    def __call__(self, look: Look, sample: Sample) -> Judged:
        if sample.dtype is not None and not np.isfinite(sample.M).all():
            return Judged(look, sample.M.size, sample.M.size, True, None)
        weights = self.guess.of(sample.scaled)
        step = sample.sum(weights) - sample.W
        kept = float((sample.D * step).sum()), float(np.square(step).sum())
        if sample.dtype is None:
            off = 0 if agrees(look, self.guess) else sample.M.size
            return Judged(look, off, sample.M.size, True, None, kept)
        seen = bool((np.abs(step) > sample.half).any())
        wrong = loosely(sample, weights, self.loose)
        convention = self._convention(look.unit, sample, wrong)
        off = 0 if convention or few_enough(wrong, self.loose) else int(np.count_nonzero(wrong))
        if not convention and not agrees(look, self.guess, NEAR):
            off = sample.M.size
        return Judged(look, off, sample.M.size, seen, convention, kept)

    def _convention(self, unit: Unit, sample: Sample, wrong: Matrix) -> Convention | None:
        """The first that explains a sample. Where no rounding explains most of the entries, none is tried."""
        if np.count_nonzero(wrong) * 2 > wrong.size:
            return None
        rounded = self.rounded(unit)
        return next((each for each in self.conventions if self.explains(each, unit, sample, rounded)), None)

    def rounded(self, unit: Unit) -> Callable[[], Sample]:
        """The sample of a unit with factors in the dtype of the base: read when it is first asked for, and once."""

        @cache
        def sample() -> Sample:
            return self.subject.with_factors_in(self.dtypes(unit).base).sample(unit, self.ground)

        return sample

    def explains(self, convention: Convention, unit: Unit, sample: Sample, rounded: Callable[[], Sample]) -> bool:
        """Whether every entry of a sample is what a convention makes of the guess."""
        used = rounded() if convention.factors else sample
        return not off(used, self.guess.of(used.scaled), convention, self.dtypes(unit)).any()

    def dtypes(self, unit: Unit) -> Dtypes:
        adapters = [
            next((each.layout[place.source].dtype for place in places), "F32")
            for each, places in zip(self.subject.adapters, self.subject.places(unit.tensor), strict=True)
        ]
        return Dtypes(self.subject.dtype(unit.tensor), adapters)

    def scores(self, few: Sequence[Look]) -> dict[Convention, int]:
        """Of how many units each convention explains all."""
        scores = dict.fromkeys(self.conventions, 0)
        for look in few:
            sample, rounded = self.sample(look.unit), self.rounded(look.unit)
            for each in self.conventions:
                scores[each] += self.explains(each, look.unit, sample, rounded)
        return scores


Reason = TypeVar("Reason")


def judge(
    subject: Subject,
    found: Sequence[Look],
    guess: Guess,
    ground: Ground | None,
    loose: float,
    reason: Callable[[Judged, Sample], Reason],
    how: Execution,
) -> tuple[list[tuple[Judged, Reason]], list[Convention]]:
    """Every unit under a guess with a reason for it, from the rows that were read for both; and the roundings that explain
    most of a few: the first is tried first in all.
    """
    out = subject.model.layout[found[0].unit.tensor].dtype
    trying = Trial(subject, guess, ground, loose, ())
    trying = replace(trying, conventions=distinct(len(subject.adapters) > 1, trying.dtypes(found[0].unit), out))
    telling = [each for each in found if not each.unchanged and not each.quantized and agrees(each, guess)]
    scores = trying.scores(telling[:: max(1, len(telling) // FEW)][:FEW])
    order = sorted(scores, key=lambda each: -scores[each])
    judging = replace(trying, conventions=order)

    def one(look: Look) -> tuple[Judged, Reason]:
        sample = judging.sample(look.unit)
        judged = judging(look, sample)
        return judged, reason(judged, sample)

    judged = list(local.run(one, found, how=how))
    used = [each for each in order if any(one.convention == each for one, _ in judged)]
    return judged, [each for each in order if scores[each] == scores[order[0]] > 0] or used[:1]
