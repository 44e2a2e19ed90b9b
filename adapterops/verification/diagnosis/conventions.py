"""How programs round W + ΔW: each a chain of monotone steps, so that what float32 may be off by is an interval to follow.

| step | what |
|---|---|
| factors | A and B are rounded to the dtype of the base before they are multiplied |
| product | BA is rounded before it is scaled |
| update | ΔW is rounded |
| through | the sum is rounded to another dtype before that of the output |
| in steps | the sum is rounded after each adapter |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adapterops.verification.deltas import UNIT
from adapterops.verification.diagnosis.samples import Sample
from adapterops.verification.rounding import Matrix, rounded_to

ADAPTER, BASE = "adapter", "base"
"""Whose dtype an update is rounded to."""

WIDE = {"F32", "F64"}


@dataclass(frozen=True)
class Convention:
    """One way to round.

    Attributes:
        says: what it does, as the rest of "rounded ...".
        update: whose dtypes ΔW is rounded to before it is added, one after the other.
        product: BA is rounded so before it is scaled, too.
        factors: A and B are rounded to the base's dtype first.
        through: the dtype that the sum is rounded to before that of the output.
        in_steps: the sum is rounded after each adapter.
    """

    name: str
    says: str
    update: Sequence[str] = ()
    product: bool = False
    factors: bool = False
    through: str | None = None
    in_steps: bool = False


PLAIN = (
    Convention("once", "once, from the sum in float32"),
    Convention("update-in-adapter-dtype", "twice: ΔW to the adapter's dtype, then the sum", (ADAPTER,)),
    Convention("update-in-base-dtype", "twice: ΔW to the base's dtype, then the sum", (BASE,)),
    Convention(
        "update-in-both-dtypes",
        "three times: ΔW to the adapter's dtype and to the base's, then the sum",
        (ADAPTER, BASE),
    ),
    Convention("factors-in-base-dtype", "A and B to the base's dtype, then the sum once", factors=True),
    Convention("all-in-base-dtype", "A, B, ΔW and the sum, each to the base's dtype", (BASE,), factors=True),
    Convention(
        "products-in-base-dtype",
        "A, B, BA, ΔW and the sum, each to the base's dtype",
        (BASE,),
        product=True,
        factors=True,
    ),
    Convention("through-float16", "twice: the sum to float16, then to the dtype of the file", through="F16"),
    Convention("through-bfloat16", "twice: the sum to bfloat16, then to the dtype of the file", through="BF16"),
)
CONVENTIONS = (
    *PLAIN,
    *(
        replace(each, name=f"{each.name}-in-steps", says=f"{each.says}; after each adapter", in_steps=True)
        for each in PLAIN
    ),
)
"""Plain ones first: of several that explain a model the first is named."""


@dataclass(frozen=True)
class Dtypes:
    """What a convention depends on: the dtypes of the base and of each adapter."""

    base: str
    adapters: Sequence[str]


def off(sample: Sample, weights: Matrix, convention: Convention, dtypes: Dtypes) -> Matrix:
    """Which entries are not what W and weighted updates become under a convention, where float32 may have computed them.

    `sample` has deltas of rounded factors where the convention rounds those.
    """
    assert sample.dtype is not None
    low = high = sample.W
    for k, (weight, delta, scaled) in enumerate(zip(weights, sample.deltas, sample.scaled, strict=True)):
        if not weight:
            continue
        ends = weight * delta.values, abs(weight) * delta.slack
        whose = {ADAPTER: dtypes.adapters[k], BASE: dtypes.base}
        chain = [whose[each] for each in convention.update]
        scale = (scaled.scale if scaled else 1.0) * weight
        below, above = (_update(end, scale, convention, chain) for end in (ends[0] - ends[1], ends[0] + ends[1]))
        slack = 2 * UNIT * (np.abs(sample.W) + np.abs(ends[0]))
        low, high = low + below - slack, high + above + slack
        if convention.in_steps:
            low, high = rounded_to(low, dtypes.base), rounded_to(high, dtypes.base)
    for dtype in filter(None, (convention.through, sample.grid, sample.dtype)):
        low, high = rounded_to(low, dtype), rounded_to(high, dtype)
    wrong: Matrix = ~((low <= sample.M) & (high >= sample.M))
    return wrong


def _update(delta: Matrix, scale: float, convention: Convention, dtypes: Sequence[str]) -> Matrix:
    if convention.product and scale:
        size = abs(scale)  # which keeps the order of the ends
        delta = rounded_to(delta / size, dtypes[0]) * size
    for dtype in dtypes:
        delta = rounded_to(delta, dtype)
    return delta


def distinct(several: bool, dtypes: Dtypes, out: str) -> list[Convention]:
    """The conventions that can make a difference here."""
    return [
        each
        for each in CONVENTIONS
        if (several or not each.in_steps)
        and each.through != out
        and not (each.through == "F16" and out == "F32" and dtypes.base == "F16")
        and not (ADAPTER in each.update and all(dtype in WIDE for dtype in dtypes.adapters))
        and not ((each.factors or BASE in each.update) and dtypes.base in WIDE)
    ]


def loosely(sample: Sample, weights: Matrix, width: float = 0.0, S: Matrix | None = None) -> Matrix:
    """Which entries no rounding of factors, products, updates or sums to 16 bits explains; `width` times |W| more may be.
    `S` is the sum, where it is not W and the weighted updates.

    Two steps of the output, and 2⁻⁷ of Σ|B||A|.
    """
    bound = sample.coarse
    for weight, size in zip(weights, sample.sizes, strict=True):
        if size is not None and weight:
            bound = bound + 2.0**-7 * abs(weight) * size
    wrong: Matrix = ~(np.abs(sample.M - (sample.sum(weights) if S is None else S)) <= bound + width * np.abs(sample.W))
    return wrong


EDGE = 1e-4
"""Of the entries that may be near to the middle of two codes, where numbers went through codes."""


def explained(sample: Sample, weights: Matrix, loose: float = 0.0, S: Matrix | None = None) -> bool:
    """Whether rounding explains every entry; see `loosely`. Where `loose` says that the weights went through codes, all but
    `EDGE` of them.
    """
    return few_enough(loosely(sample, weights, loose, S), loose)


def few_enough(wrong: Matrix, loose: float) -> bool:
    return bool(np.count_nonzero(wrong) <= (EDGE * wrong.size if loose else 0))
