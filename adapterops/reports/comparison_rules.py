"""Rules about several adapters: how they relate. Accuracy follows from none of it, and no sentence says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adapterops.operations.comparing.analysis import ENERGY, kept_energy, rank_of
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.pairs import Pair
from adapterops.reports.figures import percent, signed
from adapterops.reports.findings import Finding, some, times

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
    named = sorted({profile.base_model for profile in comparison.profiles if profile.base_model})
    if len(named) > 1:
        text = f"The adapters name different base models: {some(named)}. An update of one model is not one of another."
        yield Finding("bases", "warning", text, tuple(range(len(comparison.profiles))), {"bases": named})


def disjoint(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if not pair.modules]
    text = "{} have no module in common: each changes other weights."
    yield from _about("disjoint", "note", comparison, pairs, text, lambda pairs: "")


def same(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.cosine >= SAME]
    text = "{} are nearly the same update."
    yield from _about("same", "warning", comparison, pairs, text, _cosines)


def alike(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if ALIKE <= pair.cosine < SAME]
    text = "{} point the same way: a sum counts twice what they share. Try weights that add up to 1."
    yield from _about("alike", "note", comparison, pairs, text, _cosines)


def opposed(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.cosine <= OPPOSED]
    text = "{} point opposite ways: in a sum they cancel."
    yield from _about("opposed", "warning", comparison, pairs, text, _cosines)


def shared(comparison: Comparison) -> Iterator[Finding]:
    pairs = [
        pair
        for pair in comparison.pairs
        if abs(pair.cosine) < ALIKE and min(beyond_chance(pair), default=0.0) >= SHARED
    ]
    text = (
        "{} change the same directions in different ways. A merge may lose some of each: compare it with the adapters."
    )
    yield from _about("shared-subspaces", "note", comparison, pairs, text, _overlaps)


def separate(comparison: Comparison) -> Iterator[Finding]:
    pairs = [
        p
        for p in comparison.pairs
        if p.smaller and abs(p.cosine) < SEPARATE and max(beyond_chance(p), default=1.0) <= SEPARATE
    ]
    text = "The updates of {} are as unrelated as random ones. That does not say whether a merge keeps both tasks."
    yield from _about("separate", "note", comparison, pairs, text, _overlaps)


def room(comparison: Comparison) -> Iterator[Finding]:
    """What one adapter of the largest rank holds of the sum of all. It is energy, and no accuracy."""
    spectra, rank = comparison.sum.values(), comparison.rank
    if len([profile for profile in comparison.profiles if profile.norm]) < 2 or not any(each.norm for each in spectra):
        return
    kept, needed = kept_energy(spectra, rank), rank_of(spectra, ENERGY)
    text = f"Rank {rank} keeps {percent(kept)} of the energy of the sum of all"
    text += f", rank {needed} {percent(ENERGY)}" if needed != rank else ""
    text += ". A lower rank may lose no accuracy: try both." if kept < ENERGY else "."
    numbers = {"rank": rank, "energy_kept": kept, "rank_of_99": needed}
    yield Finding("room", "note", text, tuple(range(len(comparison.profiles))), numbers)


def start(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.shared_start and min(pair.norms)]
    text = (
        "{} began with the same A, and that is why their A's and row spaces are alike; B's and columns are their own."
    )
    yield from _about("shared-start", "note", comparison, pairs, text, _factors)


def unrelated(comparison: Comparison) -> Iterator[Finding]:
    pairs = [pair for pair in comparison.pairs if pair.conflict and abs(pair.conflict[0] - 0.5) <= UNRELATED]
    text = "The signs of {} are opposed in half of the entries, as those of unrelated updates."
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
    """One finding for all pairs that a rule is true of, with the range of what was measured; a table has each."""
    if not pairs:
        return
    named = [" and ".join(comparison.profiles[i].name for i in (pair.first, pair.second)) for pair in pairs]
    every = len(pairs) == len(comparison.pairs)
    subject = f"all {len(pairs)} pairs" if every else f"{len(pairs)} of {len(comparison.pairs)} pairs"
    if len(pairs) == 1:
        subject, named = named[0], []
    elif text.startswith("{}"):
        subject = subject.capitalize()
    details = [", ".join(named)] * (len(named) <= NAMED and not every) + [measured(pairs)]
    more = "; ".join(detail for detail in details if detail)
    numbers = [
        {"pair": [pair.first, pair.second], "cosine": pair.cosine, "columns": pair.columns, "rows": pair.rows}
        for pair in pairs
    ]
    everybody = tuple(sorted({index for pair in pairs for index in (pair.first, pair.second)}))
    yield Finding(rule, level, text.format(f"{subject} ({more})" if more else subject), everybody, {"pairs": numbers})


def span(values: Sequence[float], form: Callable[[float], str]) -> str:
    """
    >>> span([0.1, 0.3, 0.2], signed), span([0.001, 0.002], signed)
    ('+0.10 to +0.30', '0.00')
    """
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def _cosines(pairs: Sequence[Pair]) -> str:
    return f"cosine {span([pair.cosine for pair in pairs], signed)}"


def _conflicts(pairs: Sequence[Pair]) -> str:
    return span([pair.conflict[0] for pair in pairs if pair.conflict], percent)


def _overlaps(pairs: Sequence[Pair]) -> str:
    columns, rows = (span([getattr(pair, side) or 0.0 for pair in pairs], percent) for side in ("columns", "rows"))
    random = (span([pair.chance[side] if pair.chance else 0.0 for pair in pairs], percent) for side in (0, 1))
    overlaps = f"columns overlap by {columns}, rows by {rows}, random ones by {' and '.join(random)}"
    return f"{overlaps}; {_cosines(pairs)}"


def _factors(pairs: Sequence[Pair]) -> str:
    one, other = (span([pair.factors[side] if pair.factors else 0.0 for pair in pairs], signed) for side in (0, 1))
    return f"cosine of the A's {one}, of the B's {other}"
