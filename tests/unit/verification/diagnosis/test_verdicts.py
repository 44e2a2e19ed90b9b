"""Sentences that follow from what was found; see tests/fault/test_diagnosis.py for models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adapterops.verification.diagnosis.causes import Scaled
from adapterops.verification.diagnosis.fitting import Fit
from adapterops.verification.diagnosis.judging import Guess, Judged, Look
from adapterops.verification.diagnosis.samples import Unit
from adapterops.verification.diagnosis.suspects import CODES, Symptom
from adapterops.verification.diagnosis.verdicts import verdict_of

UNIT = Unit("m", "m.weight", range(4), slice(0, 4))
LOOK = Look(UNIT, Fit(np.ones(1), np.eye(1)), False, True, [Scaled(0.7, 9)], (0.0, 1.0), False)
RIGHT = Judged(LOOK, 0, 16, True, None)
ONE = Guess(np.ones(1))


def said(guess: Guess = ONE, look: Look = LOOK, judged: Judged = RIGHT, *findings: Symptom) -> tuple[str, str, int]:
    return verdict_of(guess, [look], [judged], findings, "base", {"a": (float(guess.weights[0]), 0.01)})


def test_complete() -> None:
    assert said() == ("base-plus-adapters", "this is the base and a, complete", 0)


def test_another_scale() -> None:
    assert said(Guess(np.array([3.0])))[1:] == (
        "this is the base and 3 times a, as if it were scaled by alpha / sqrt(r), and not by alpha / r; "
        "that is not the adapter as it was trained",
        8,
    )


def test_of_several_one_that_a_wrong_calculation_enlarged() -> None:
    """Smaller weights, and larger ones that no such calculation makes, are chosen."""
    both = replace(LOOK, scaled=[Scaled(0.7, 9), Scaled(0.7, 4)])

    def of_two(*weights: float) -> tuple[str, str, int]:
        named = {name: (weight, 0.01) for name, weight in zip("ab", weights, strict=True)}
        return verdict_of(Guess(np.array(weights)), [both], [RIGHT], [], "base", named)

    sum_ = "this is the base and 1 times a and 2 times b"
    looks = "the update were added twice or it were scaled by alpha / sqrt(r), and not by alpha / r"
    assert of_two(1, 2) == ("base-plus-adapters", f"{sum_}; b is in it as if {looks}", 8)
    assert [of_two(*weights)[2] for weights in ((1, 1), (0.5, 0.5), (1.2, 0.7), (1, 0.7), (9, 1))] == [0, 0, 0, 0, 8]
    root = replace(both, scaled=[Scaled(1.0, 8, True), Scaled(0.7, 4)])
    for weight, code in ((8**-0.5, 8), (0.35, 0), (1 / 8, 0)):
        named = {"a": (weight, 1e-4), "b": (1.0, 1e-4)}
        found = verdict_of(Guess(np.array([weight, 1.0])), [root], [RIGHT], [], "base", named)
        assert found[2] == code
        assert ("a is in it as if it were scaled by alpha / r" in found[1]) == (code == 8)


def test_how_what_was_added_compares_with_the_updates() -> None:
    wrong = replace(RIGHT, look=replace(LOOK, left=(3.0, 4.0)), off=16, kept=(0.6, 1.0))
    found = said(ONE, LOOK, wrong, Symptom("changed", "m", "is changed by something else"))
    assert found[1].endswith(
        ": what was added is 2 times as large as the updates, with a cosine of 0.3 (median module)"
    )


def test_what_is_under_the_update_is_named_once() -> None:
    under = verdict_of(ONE, [LOOK], [RIGHT], [Symptom("changed", "n", "changed")], "nf4", {"a": (1.0, 0.01)})
    assert under[1] == "this is the base quantized to NF4 and back and a; other tensors differ"


def test_below_a_step() -> None:
    assert said(ONE, replace(LOOK, unchanged=True), replace(RIGHT, seen=False))[2] == 9


def test_what_cannot_be_read_is_not_taken_for_right() -> None:
    assert said(ONE, LOOK, RIGHT, Symptom(CODES, "n", "is in codes"))[2] == 9
    assert said(ONE, LOOK, RIGHT, Symptom(CODES, "n", "is in codes"), Symptom("missing", "k", "is the base's"))[2] == 8
