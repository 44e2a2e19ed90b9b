"""How large a merge is: the factor that the result of a method is multiplied by, module by module.

No fixed factor is right for all adapters. To every task the updates of the others are a disturbance, and what a layer
bears of that is relative to its weight. The weight is not at hand when adapters are merged, but trained layers keep
the size of what passes through them, so that its norm is about sqrt(out). docs/merging.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import hypot, inf, isfinite, sqrt
from typing import TypeAlias

import numpy as np

from adapterops.errors import InputError, OptionError, factor
from adapterops.updates.protocol import Linear
from adapterops.updates.sums import total

AUTO, SUM, MEAN = "auto", "sum", "mean"
GROWN = sqrt(2)
"""What the norm of a module of a merge is at most, relative to those of its inputs: twice the energy."""

FEW = 1 << 29
"""Entries of a merge that are computed for its multipliers alone: seconds of work."""

Scale: TypeAlias = str | float


def check_scale(scale: Scale) -> Scale:
    """A scale, a number in text as a number.

    Raises:
        OptionError: it is neither a name nor a number other than zero.

    >>> check_scale("mean"), check_scale("0.4"), check_scale(2)
    ('mean', 0.4, 2.0)
    """
    if scale in (AUTO, SUM, MEAN):
        return scale
    try:
        number = float(scale) if not isinstance(scale, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not number or not isfinite(number):
        fact = f"scale must be {AUTO}, {SUM}, {MEAN} or a number other than 0, got {str(scale)[:80]!r}"
        raise OptionError(
            fact, hint=f"{SUM} is 1 times the weighted sum, {MEAN} that over the number of adapters, 0.5 half of it"
        )
    return factor(number, "scale")


def fixed(scale: Scale, count: int) -> float | None:
    """The factor of every module of a merge of `count` adapters; None where it depends on the numbers."""
    return {SUM: 1.0, MEAN: 1 / count, AUTO: None if count > 1 else 1.0}[scale] if isinstance(scale, str) else scale


def matching(
    result: Linear, inputs: Sequence[Linear], borne: float, order: int = 2, summed: Linear | None = None
) -> float:
    """The factor of `auto` for the result of a method. `summed`: the sum of the inputs, where it is known.

    Of order 4 the bound is on (Σ σ⁴)^(1/4) instead of the norm, and there is none by the norms of the inputs.

    Cost: the norms, where the result is large that of the sum, too; those of entries need all of them.
    """
    norm, bound = result.norm(), borne * result.shape[0] ** 0.5
    if order == 4 and norm:
        bound /= _fourth(result, norm)
    whole = (total(inputs) if summed is None else summed).norm() if norm > bound else 0.0
    if order == 4 and norm <= bound:
        return 1.0
    return automatic(norm, [each.norm() for each in inputs], whole, bound, GROWN if order == 2 else inf)


def undisturbed(result: Linear, inputs: Sequence[Linear], borne: float, summed: Linear | None = None) -> float:
    """The factor of `auto` for a method whose bound is on what it disturbs: 1, or what makes the largest ‖M - keptᵢ ΔWᵢ‖
    `borne` sqrt(out), with keptᵢ = ⟨M, ΔWᵢ⟩ / ‖ΔWᵢ‖²; or what makes Σ ⟨M, ΔWᵢ⟩ no more than Σ ‖ΔWᵢ‖², so that of what is the same in
    all there is no more than in each; whichever is least, and no less than what makes it the norm of the mean.

    Cost: the inner products of all.
    """
    from adapterops.methods.holding import hold

    found = hold(result, inputs)
    own = found.gram.diagonal()
    there = own > 0
    both, own = found.both[there], own[there]
    if not found.total > 0 or not len(own):
        return 1.0
    largest = sqrt(max(0.0, found.total - float((both**2 / own).min())))
    norm = sqrt(found.total)
    least = (total(inputs) if summed is None else summed).norm() / len(own) / norm
    bounds = [1.0]
    if largest > 0:
        bounds.append(borne * sqrt(result.shape[0]) / largest)
    if both.sum() > 0:
        bounds.append(float(own.sum() / both.sum()))
    return max(min(bounds), min(1.0, least))


def usable(number: float, module: str) -> float:
    """The factor of `auto`, which norms of numbers of any size are for.

    Raises:
        InputError: it is 0 or infinite, as a norm is infinite: the module would be lost. NaN, which comes of NaN, stays in sight.
    """
    if number in (0, inf):
        raise InputError(
            "the norm of its merge is beyond the numbers of its dtype, so that there is no scale for it",
            tensor=module,
            hint=f"give one: --scale {SUM}, --scale {MEAN}, or a number; and look whether the adapters are as they were trained",
            code="E-NONFINITE",
        )
    return number


def _fourth(update: Linear, norm: float) -> float:
    """(Σ σ⁴)^(1/4) / norm of the singular values: with M = B A, Σ σ⁴ = tr((Bᵀ B A Aᵀ)²)."""
    factors = update.lowrank()
    if factors is None:
        dense = update.dense().astype(float) / norm
        gram = dense.T @ dense
    else:
        B, A = factors.scale / norm * factors.B.astype(float), factors.A.astype(float)
        gram = (B.T @ B) @ (A @ A.T)
    fourth: float = (gram * gram.T).sum()
    return sqrt(sqrt(fourth))


def automatic(norm: float, inputs: Sequence[float], summed: float, borne: float, grown: float = GROWN) -> float:
    """What a module of a norm is multiplied by: 1, or what makes it `grown` sqrt(mean ‖ΔWᵢ‖²), or `borne`, whichever is least;
    for `borne` no less than what makes it the norm of the mean. Means are those of the inputs that are not zero.

    Args:
        inputs: ‖ΔWᵢ‖.
        summed: ‖Σ ΔWᵢ‖.

    >>> automatic(2.0, [1.0, 1.0, 1.0, 1.0], 2.0, 10.0), automatic(2.0, [1.0, 1.0, 1.0, 1.0, 0.0], 2.0, 0.8)
    (0.7071067811865476, 0.4)
    >>> automatic(4.0, [1.0, 1.0, 1.0, 1.0], 4.0, 0.8), automatic(0.0, [1.0, 1.0], 0.0, 0.8)
    (0.25, 1.0)
    """
    there = [each for each in inputs if each]
    if not norm or not there:
        return 1.0
    usual = hypot(*there) / sqrt(len(there))
    return min(norm, grown * usual, max(borne, summed / len(there))) / norm


def others(scale: Scale, count: int) -> dict[str, float | None]:
    """The scales by name that were not chosen, and their factors; None for the one that depends on the numbers.

    >>> others("auto", 4), others("sum", 1)
    ({'sum': 1.0, 'mean': 0.25}, {})
    """
    return {name: fixed(name, count) for name in (AUTO, SUM, MEAN) if name != scale} if count > 1 else {}


@dataclass(frozen=True, eq=False)
class Multipliers:
    """What `auto` multiplies the modules of a merge by: each is found when the module is computed.

    Attributes:
        modules: those that are multiplied.
        compute: a module, by which its multiplier is found.
        quick: whether all may be found for their own sake: from A and B alone, or from no more than `FEW` entries.
        found: module → multiplier.
        summed: those of which the method made the sum, since most of their updates are large: see `Method.small`. What
            is the sum whatever the scale, as an update has no lower rank than the matrix, is in it where it is large, too.
    """

    modules: Collection[str]
    compute: Callable[[str], object]
    quick: bool
    found: dict[str, float] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)

    def all(self, each: Callable[[Callable[[str], object], Iterable[str]], Iterable[object]] = map) -> dict[str, float]:
        """Those of all modules, in their order: what is not found yet is computed, by `each`, which may do several at a time."""
        for _ in each(self.compute, [module for module in self.modules if module not in self.found]):
            pass
        return {module: self.found[module] for module in self.modules}

    def of_sum(self) -> list[str]:
        """The modules in `summed`, in their order."""
        return [module for module in self.modules if module in self.summed]


def describe(scale: Scale, count: int, multipliers: Collection[float] = ()) -> str:
    """What the result is multiplied by. `multipliers`: those of the modules, where they depend on the numbers and are known.

    >>> describe("auto", 4, [0.5, 0.71, 0.98]), describe("mean", 4)
    ('auto: 0.71 times in the median module (0.5 to 0.98)', 'mean: 0.25 times')
    >>> describe("auto", 4)
    'auto: full size, reduced where the update of a module is large, at most to the mean'
    """
    if fixed(scale, count) is None and not multipliers:
        return f"{AUTO}: full size, reduced where the update of a module is large, at most to the mean"
    if not isinstance(scale, str):
        return f"{scale:.3g}"
    return f"{scale}: {times(multipliers or [fixed(scale, count) or 1.0])}"


def times(multipliers: Collection[float]) -> str:
    """
    >>> times([0.5]), times([0.5, 0.5]), times([0.5, 0.71, 0.98])
    ('0.5 times', '0.5 times in every module', '0.71 times in the median module (0.5 to 0.98)')
    >>> times([1, 1]), times([0.5, 1, 1])
    ('full size in every module', 'full size in the median module (0.5 to 1)')
    """
    least, middle, most = (
        f"{value:.3g}" for value in (min(multipliers), float(np.median(list(multipliers))), max(multipliers))
    )
    if len(multipliers) == 1:
        return f"{most} times"
    size = "full size" if middle == "1" else f"{middle} times"
    return f"{size} in every module" if least == most else f"{size} in the median module ({least} to {most})"
