"""What a factor of an update looks like: names for numbers that arithmetic makes, of a scale and a rank. None is a cause
that was seen; a sentence says "as if".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scaled:
    """How an update is scaled: ΔW = scale · BA, BA of a rank; alpha / sqrt(r) where `rslora`."""

    scale: float
    rank: int
    rslora: bool = False


@dataclass(frozen=True)
class Cause:
    """What a weight of an update looks like: the factor that it would have; None where it cannot be."""

    says: str
    factor: Callable[[Scaled], float | None]


CAUSES: Sequence[Cause] = (
    Cause("the update were subtracted", lambda at: -1.0),
    Cause("the update were added twice", lambda at: 2.0),
    Cause("its scale were applied twice", lambda at: at.scale),
    Cause("its scale were left out", lambda at: 1 / at.scale),
    Cause("it were scaled by alpha / sqrt(r), and not by alpha / r", lambda at: None if at.rslora else at.rank**0.5),
    Cause("it were scaled by alpha / r, and not by alpha / sqrt(r)", lambda at: at.rank**-0.5 if at.rslora else None),
    Cause("alpha were not divided by anything", lambda at: at.rank**0.5 if at.rslora else float(at.rank)),
    Cause("alpha were divided by r twice", lambda at: None if at.rslora else 1 / at.rank),
)

CLOSE = 0.002
"""Part of a factor that two of one name may differ by."""


def as_if(weight: float, facts: Sequence[Scaled]) -> list[str]:
    """What a weight looks like where every update is scaled as one of these.

    >>> as_if(2.0, [Scaled(0.5, 4)])  # doctest: +NORMALIZE_WHITESPACE
    ['the update were added twice', 'its scale were left out', 'it were scaled by alpha / sqrt(r), and not by alpha / r']
    >>> as_if(0.73, [Scaled(0.5, 4)]), as_if(1.0, [Scaled(1.0, 1)])
    ([], [])
    """
    if abs(weight - 1) <= CLOSE:
        return []
    return [cause.says for cause in CAUSES if all(near(weight, cause.factor(each)) for each in facts if each.scale)]


def near(weight: float, factor: float | None) -> bool:
    return factor is not None and abs(weight - factor) <= CLOSE * abs(factor)
