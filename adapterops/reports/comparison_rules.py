"""Rules about several adapters: how they relate. Accuracy follows from none of it, and no sentence says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adapterops.formats.peft.combining import location
from adapterops.operations.comparing.analysis import ENERGY, kept_energy, rank_of
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.pairs import Pair
from adapterops.reports.figures import percent, signed
from adapterops.reports.findings import Finding, some, span, times

SAME, ALIKE, OPPOSED = 0.99, 0.5, -0.5
"""Cosines of whole updates."""

SHARED, SEPARATE = 0.3, 0.1
"""Overlap of subspaces beyond that of random ones: above the first they are shared, below the second they are not."""

UNRELATED = 0.02
"""Updates that have nothing in common have a sign conflict within this of one half."""

NAMED = 3
"""So many pairs are named in a sentence, if they are not all."""

UNEVEN = 4.0
"""Norms that differ by this factor make a merge with equal weights mostly that of the larger adapter."""


def bases(comparison: Comparison) -> Iterator[Finding]:
    found = [profile.base_model for profile in comparison.profiles if profile.base_model]
    named = sorted({location(base): base for base in found}.values())
    if len(named) > 1:
        text = f"The adapters name different base models: {some(named)}. An update of one model is not one of another."
        yield Finding("bases", "warning", text, tuple(range(len(comparison.profiles))), {"bases": named})


def disjoint(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if not pair.modules]
    text = "{who} have no module in common: each changes other weights."
    yield from _about("disjoint", "note", comparison, pairs, text, lambda pairs: "")


def same(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.cosine >= SAME]
    text = "{who} are nearly the same update{how}."
    yield from _about("same", "warning", comparison, pairs, text, _cosines)


def alike(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if ALIKE <= pair.cosine < SAME]
    text = "{who} point the same way{how}: a sum counts twice what they share. Try weights that add up to 1."
    yield from _about("alike", "note", comparison, pairs, text, _cosines)


def opposed(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.cosine <= OPPOSED]
    text = "{who} point opposite ways{how}: in a sum they cancel."
    yield from _about("opposed", "warning", comparison, pairs, text, _cosines)


def shared(comparison: Comparison) -> Iterator[Finding]:
    pairs = [
        pair
        for pair in comparison.pairs
        if abs(pair.cosine) < ALIKE and min(beyond_chance(pair), default=0.0) >= SHARED
    ]
    text = (
        "{who} change the same directions in different ways{how}. A merge may lose some of each: compare it with the "
        "adapters."
    )
    yield from _about("shared-subspaces", "note", comparison, pairs, text, _overlaps)


def separate(comparison: Comparison) -> Iterator[Finding]:
    pairs = [
        p
        for p in comparison.pairs
        if p.smaller and abs(p.cosine) < SEPARATE and max(beyond_chance(p), default=1.0) <= SEPARATE
    ]
    text = "{who} are as unrelated as random updates{how}. That does not say whether a merge keeps their tasks."
    yield from _about("separate", "note", comparison, pairs, text, _overlaps)


def room(comparison: Comparison) -> Iterator[Finding]:
    """What one adapter of the largest rank holds of the sum of all. It is energy, and no accuracy."""
    spectra, rank = comparison.sum.values(), comparison.rank
    if len([profile for profile in comparison.profiles if profile.norm]) < 2 or not any(each.norm for each in spectra):
        return
    kept, needed = kept_energy(spectra, rank), rank_of(spectra, ENERGY)
    text = f"Cut to rank {rank}, the sum of all keeps {percent(kept)} of its energy"
    if needed > rank:
        text += f"; at least {percent(ENERGY)} takes rank {needed}"
    elif needed < rank:
        text += f", and at least {percent(ENERGY)} at rank {needed}"
    text += ". Try both ranks: the lower one may lose no accuracy." if kept < ENERGY else "."
    numbers = {"rank": rank, "energy_kept": kept, "rank_of_99": needed}
    yield Finding("room", "note", text, tuple(range(len(comparison.profiles))), numbers)


def start(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.shared_start and min(pair.norms)]
    text = (
        "{who} began with the same A{how}, so their A's and row spaces are alike. Their B's and columns are their own."
    )
    yield from _about("shared-start", "note", comparison, pairs, text, _factors)


def unrelated(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.conflict and abs(pair.conflict[0] - 0.5) <= UNRELATED]
    text = "{who} have opposite signs in about half of their entries{how}, as unrelated updates have."
    yield from _about("unrelated-signs", "note", comparison, pairs, text, _conflicts)


def uneven(comparison: Comparison) -> Iterator[Finding]:
    norms = {index: profile.norm for index, profile in enumerate(comparison.profiles) if profile.norm}
    if len(norms) < 2:
        return
    large, small = max(norms, key=norms.__getitem__), min(norms, key=norms.__getitem__)
    ratio = norms[large] / norms[small]
    if ratio >= UNEVEN:
        one, other = comparison.profiles[large].name, comparison.profiles[small].name
        text = f"{one} is {times(ratio)} as large as {other}: with equal weights most of a merge is {one}. Try other weights."
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
    rule: str,
    level: str,
    comparison: Comparison,
    pairs: Sequence[Pair],
    text: str,
    measured: Callable[[Sequence[Pair]], str],
) -> Iterator[Finding]:
    """One finding for all pairs that a rule is true of: `text` with who they are, and how, the range of what was measured."""
    if not pairs:
        return
    named = [" and ".join(comparison.profiles[i].name for i in (pair.first, pair.second)) for pair in pairs]
    every = len(pairs) == len(comparison.pairs)
    subject = f"all {len(pairs)} pairs" if every else f"{len(pairs)} of {len(comparison.pairs)} pairs"
    subject = named[0] if len(pairs) == 1 else subject.capitalize()
    if 1 < len(pairs) <= NAMED and not every:
        subject += f" ({', '.join(named)})"
    how = measured(pairs)
    numbers = [
        {"pair": [pair.first, pair.second], "cosine": pair.cosine, "columns": pair.columns, "rows": pair.rows}
        for pair in pairs
    ]
    everybody = tuple(sorted({index for pair in pairs for index in (pair.first, pair.second)}))
    yield Finding(rule, level, text.format(who=subject, how=f" ({how})" if how else ""), everybody, {"pairs": numbers})


def _cosines(pairs: Sequence[Pair]) -> str:
    return f"cosine {span([pair.cosine for pair in pairs], signed)}"


def _conflicts(pairs: Sequence[Pair]) -> str:
    return span([pair.conflict[0] for pair in pairs if pair.conflict], percent)


def _overlaps(pairs: Sequence[Pair]) -> str:
    overlaps = []
    for index, side in enumerate(("columns", "rows")):
        shared = span([getattr(pair, side) or 0.0 for pair in pairs], percent)
        random = span([pair.chance[index] if pair.chance else 0.0 for pair in pairs], percent)
        overlaps.append(f"{side} overlap by {shared}, random ones by {random}")
    return "; ".join([*overlaps, _cosines(pairs)])


def _factors(pairs: Sequence[Pair]) -> str:
    one, other = (span([pair.factors[side] if pair.factors else 0.0 for pair in pairs], signed) for side in (0, 1))
    return f"cosine of the A's {one}, of the B's {other}"
