"""Rules about several adapters: whether they are alike, and whether a merge can hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adapterops.operations.analysis import SUGGESTED_ENERGY, kept_energy, suggested_rank
from adapterops.operations.comparison import Comparison, Pair
from adapterops.reports.figures import percent, signed
from adapterops.reports.findings import Finding, some, times

SAME, ALIKE, OPPOSED = 0.99, 0.5, -0.5
"""Cosines of whole updates."""

COLLIDING, SEPARATE = 0.3, 0.1
"""Overlap of subspaces beyond that of random ones: above the first they are shared, below the second they are not."""

COIN = 0.02
"""Updates that have nothing in common have a sign conflict within this of one half."""

HELD = 0.9
"""A merged adapter holds the sum if it keeps this fraction of its energy."""

UNEVEN = 4.0
"""Norms that differ by this factor make a merge with equal weights one of the larger adapter."""


def bases(comparison: Comparison) -> Iterator[Finding]:
    named = sorted({profile.base_model for profile in comparison.profiles if profile.base_model})
    if len(named) > 1:
        text = f"The adapters name different base models: {some(named)}. What they have in common means little, and a merge of them less."
        yield Finding("bases", "warning", text, tuple(range(len(comparison.profiles))), {"bases": named})


def disjoint(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if not pair.modules]
    yield from _about(
        "disjoint", "note", comparison, pairs, "{} share no module: each changes other weights.", lambda pair: ""
    )


def same(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.cosine >= SAME]
    text = "{} are the same update, or nearly: one of them would do."
    yield from _about("same", "warning", comparison, pairs, text, lambda pair: f"cosine {signed(pair.cosine)}")


def alike(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if ALIKE <= pair.cosine < SAME]
    text = (
        "{} pull the same way: average them, with weights that add up to 1; a plain sum counts twice what they share."
    )
    yield from _about("alike", "note", comparison, pairs, text, lambda pair: f"cosine {signed(pair.cosine)}")


def opposed(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.cosine <= OPPOSED]
    text = "{} undo each other: a merge of them keeps little of either."
    yield from _about("opposed", "warning", comparison, pairs, text, lambda pair: f"cosine {signed(pair.cosine)}")


def colliding(comparison: Comparison) -> Iterator[Finding]:
    pairs = [
        pair
        for pair in comparison.pairs
        if abs(pair.cosine) < ALIKE and min(beyond_chance(pair), default=0.0) >= COLLIDING
    ]
    text = (
        "The subspaces of {} collide: they change the same directions in different ways. "
        f"One merged rank-{comparison.rank} adapter cannot hold both, for each disturbs the other there."
    )
    yield from _about("colliding", "warning", comparison, pairs, text, _overlaps)


def separate(comparison: Comparison) -> Iterator[Finding]:
    pairs = [
        p
        for p in comparison.pairs
        if p.smaller and abs(p.cosine) < SEPARATE and max(beyond_chance(p), default=1.0) <= SEPARATE
    ]
    text = "The subspaces of {} are separate: they do not disturb each other, and a merge can keep both if it keeps their ranks."
    yield from _about("separate", "note", comparison, pairs, text, _overlaps)


def room(comparison: Comparison) -> Iterator[Finding]:
    """Whether one adapter of the largest rank holds the sum of all."""
    spectra, rank = comparison.sum.values(), comparison.rank
    if len([profile for profile in comparison.profiles if profile.norm]) < 2 or not any(each.norm for each in spectra):
        return
    kept, needed = kept_energy(spectra, rank), suggested_rank(spectra)
    numbers = {"rank": rank, "energy_kept": kept, "rank_needed": needed, "threshold": HELD}
    everybody = tuple(range(len(comparison.profiles)))
    if kept < HELD:
        text = (
            f"One merged rank-{rank} adapter cannot hold the sum of all: it keeps {percent(kept)} of it. "
            f"{percent(SUGGESTED_ENERGY)} takes rank {needed}; fused into the base, nothing is lost."
        )
        yield Finding("no-room", "warning", text, everybody, numbers)
    else:
        text = f"One merged rank-{rank} adapter holds {percent(kept)} of the sum of all."
        yield Finding("room", "note", text, everybody, numbers)


def start(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.shared_start and min(pair.norms)]
    text = (
        "{} started from one random A, and it is still there: that their A's and row spaces are alike says nothing about "
        "their tasks. Compare their B's, or the columns."
    )
    yield from _about("shared-start", "warning", comparison, pairs, text, _factors)


def coin(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.conflict and abs(pair.conflict[0] - 0.5) <= COIN]
    text = "The signs of {} agree no more often than by chance: electing them (TIES) has nothing to agree on."
    yield from _about(
        "coin-flip",
        "note",
        comparison,
        pairs,
        text,
        lambda p: f"{percent(p.conflict[0])} opposed" if p.conflict else "",
    )


def uneven(comparison: Comparison) -> Iterator[Finding]:
    norms = {index: profile.norm for index, profile in enumerate(comparison.profiles) if profile.norm}
    if len(norms) < 2:
        return
    large, small = max(norms, key=norms.__getitem__), min(norms, key=norms.__getitem__)
    ratio = norms[large] / norms[small]
    if ratio >= UNEVEN:
        one, other = comparison.profiles[large].name, comparison.profiles[small].name
        text = f"{one} is {times(ratio)} as large as {other}: with equal weights, a merge is mostly {one}."
        yield Finding("uneven", "warning", text, (large, small), {"ratio": ratio, "threshold": UNEVEN})


def beyond_chance(pair: Pair) -> list[float]:
    """The overlaps of columns and of rows, rescaled so that 0 is that of random subspaces."""
    if pair.columns is None or pair.rows is None or pair.chance is None:
        return []
    return [
        (value - by) / (1 - by) if by < 1 else 0.0
        for value, by in zip((pair.columns, pair.rows), pair.chance, strict=True)
    ]


def _about(
    rule: str, level: str, comparison: Comparison, pairs: Sequence[Pair], text: str, measured: Callable[[Pair], str]
) -> Iterator[Finding]:
    """One finding for all pairs that a rule is true of, with what was measured of each."""
    if not pairs:
        return
    names = [(comparison.profiles[pair.first].name, comparison.profiles[pair.second].name) for pair in pairs]
    shown = [f" ({value})" if (value := measured(pair)) else "" for pair in pairs]
    each = [f"{one} and {other}{more}" for (one, other), more in zip(names, shown, strict=True)]
    numbers = [
        {"pair": [pair.first, pair.second], "cosine": pair.cosine, "columns": pair.columns, "rows": pair.rows}
        for pair in pairs
    ]
    everybody = tuple(sorted({index for pair in pairs for index in (pair.first, pair.second)}))
    yield Finding(rule, level, text.format(some(each)), everybody, {"pairs": numbers})


def _overlaps(pair: Pair) -> str:
    columns, rows = pair.chance or (0.0, 0.0)
    overlaps = f"columns overlap by {percent(pair.columns or 0)}, rows by {percent(pair.rows or 0)}"
    return f"{overlaps}, by chance {percent(columns)} and {percent(rows)}; cosine {signed(pair.cosine)}"


def _factors(pair: Pair) -> str:
    one, other = pair.factors or (0.0, 0.0)
    return f"cosine of the A's {signed(one)}, of the B's {signed(other)}"
