"""The sentence about a model: what follows from what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adapterops.verification.diagnosis.causes import as_if
from adapterops.verification.diagnosis.forms import ALIKE, QUANTIZED
from adapterops.verification.diagnosis.grounds import THROUGH
from adapterops.verification.diagnosis.judging import Guess, Judged, Look, is_typed
from adapterops.verification.diagnosis.suspects import CODES, MISSING, OTHER, Symptom

BASE, LOST, ADAPTED, PARTLY, ELSE, DIFFERENT, UNKNOWN = (
    *("base", "lost-in-codes", "base-plus-adapters", "partly", "something-else"),
    *("different", "unknown"),
)
HEALTHY, SICK, UNJUDGED = 0, 8, 9

ORIGINAL = "original"
UNDER = {
    "base": "the base",
    ORIGINAL: "the original",
    **{name: f"the base quantized to {codes.says} and back" for name, codes in THROUGH.items()},
}
HALF = 0.5
"""Of an update that codes have to hold, or it counts as lost."""


def verdict_of(
    guess: Guess,
    found: Sequence[Look],
    judged: Sequence[Judged],
    findings: Sequence[Symptom],
    under: str,
    weights: Mapping[str, tuple[float, float]],
    in_codes: str | None = None,
) -> tuple[str, str, int]:
    """The verdict in a word, in a sentence, and the exit code.

    Args:
        in_codes: what is known of a model in codes that holds little of the update: `LOST`, `ELSE`, or `UNKNOWN`.
    """
    right = sum(each.right for each in judged)
    seen = any(each.seen and each.right for each in judged)
    if all(each.unchanged for each in found):
        if not any(each.seen for each in judged) and right == len(judged):
            return UNKNOWN, "the update is smaller than a step of the weights: with it the model is the base", UNJUDGED
        more = {each.kind for each in findings} - {MISSING}
        what = "no update is in it, and other tensors differ" if more else "no update is in it"
        return BASE, f"this is {UNDER[under]}: {what}", SICK
    if in_codes == UNKNOWN:
        ((name, (weight, _)),) = weights.items()
        return (
            UNKNOWN,
            f"{max(weight, 0):.0%} of {name} is in the model; whether rounding to codes lost the rest cannot be told:"
            " which codes are next to the base is not known for these",
            UNJUDGED,
        )
    if in_codes == ELSE or not right or not seen:
        units = [each.unit for each in judged]
        own = {each.module for each in units} | {each.tensor.removesuffix(".weight") for each in units}
        others = any(each.kind == OTHER and each.place not in own for each in findings)
        further = "; tensors that no adapter changes differ from the base, too" if others else ""
        kinds = {each.kind for each in findings if each.place in own or each.kind in ALIKE}
        ground = UNDER["base" if kinds == {QUANTIZED} else under]
        alike = f": {ALIKE[kinds.pop()]}" if len(kinds) == 1 and kinds <= ALIKE.keys() else ""
        if kinds == {OTHER}:
            alike = _resemblance(judged)
        return ELSE, f"this is not {ground} and a weighted sum of these adapters{alike}{further}", SICK
    if in_codes == LOST:
        ((name, (weight, _)),) = weights.items()
        return LOST, f"this is {UNDER[under]}: {max(weight, 0):.0%} of {name} is left in its codes", SICK
    sum_ = _sum_of(guess, weights, found, UNDER[under])
    if findings and all(each.kind == CODES for each in findings):
        return (
            UNKNOWN,
            f"this is {sum_} in all that can be decoded, and some weights are in codes that cannot",
            UNJUDGED,
        )
    if findings:
        where = f" in {right} of {len(judged)} modules" if right < len(judged) else "; other tensors differ"
        return PARTLY, f"this is {sum_}{where}", SICK
    if len(weights) == 1 and (guess.factor is not None or abs(guess.weights[0] - 1) > 1e-9):
        return ADAPTED, f"this is {sum_}; that is not the adapter as it was trained", SICK
    if any(abs(weight) <= 1e-3 for weight, _ in weights.values()):
        return ADAPTED, f"this is {sum_}: an adapter is not in it", SICK
    if under in THROUGH:
        return ADAPTED, f"this is {sum_}", SICK
    if enlarged := _enlarged(weights, found):
        return ADAPTED, f"this is {sum_}; {enlarged}", SICK
    return ADAPTED, f"this is {sum_}, complete", HEALTHY


def _resemblance(judged: Sequence[Judged]) -> str:
    """How the difference compares with the updates."""
    known = [(each.look.left[1], *each.kept) for each in judged if each.look.left[1] > 0 and each.kept[1] > 0]
    if not known:
        return ""
    size = np.median([(own / step) ** 0.5 for own, _, step in known])
    cosine = np.median([dot / (own * step) ** 0.5 for own, dot, step in known])
    return (
        f": what was added is {size:.4g} times as large as the updates, with a cosine of {cosine:.4g} (median module)"
    )


def _enlarged(weights: Mapping[str, tuple[float, float]], found: Sequence[Look]) -> str:
    """Which of several adapters have a weight that a wrong calculation makes, above 1 or one that nobody types: others are chosen."""
    looks_like = []
    for place, (name, (weight, _)) in enumerate(weights.items()):
        facts = list(dict.fromkeys(each for look in found if (each := look.scaled[place])))
        if (weight > 1 or not is_typed(weight)) and (looks := as_if(weight, facts)):
            looks_like.append(f"{name} is in it as if {' or '.join(looks)}")
    return ", and ".join(looks_like)


def _sum_of(guess: Guess, weights: Mapping[str, tuple[float, float]], found: Sequence[Look], under: str) -> str:
    """What the model is a sum of: `under` is the base, or what is in its place."""
    names = list(weights)
    if len(names) > 1:
        parts = [f"{weight:.4g} times {name}" for name, (weight, _) in weights.items()]
        blurred = [name for name, (_, error) in weights.items() if not np.isfinite(error)]
        blur = f"; the weights of {' and '.join(blurred)} cannot be told apart" if blurred else ""
        return f"{under} and {' and '.join(parts)}{blur}"
    facts = list(dict.fromkeys(each for look in found for each in look.scaled if each))
    factors = sorted({float(guess.of([fact])[0]) for fact in facts}) or [float(guess.weights[0])]
    if factors == [1.0]:
        return f"{under} and {names[0]}"
    span = " to ".join(f"{each:.4g}" for each in dict.fromkeys((factors[0], factors[-1])))
    looks = [set(as_if(float(guess.of([fact])[0]), [fact])) for fact in facts]
    shared = [
        each
        for each in dict.fromkeys(as_if(float(guess.of(facts[:1])[0]), facts[:1]))
        if all(each in some for some in looks)
    ]
    return f"{under} and {span} times {names[0]}" + (f", as if {' or '.join(shared)}" if shared else "")
