"""Rules about one adapter: what its spectrum, its norm and its layers say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from adapterops.errors import count
from adapterops.operations.comparing.analysis import ENERGY, kept_energy
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.kinds import located
from adapterops.operations.comparing.sizes import cut
from adapterops.reports.figures import percent, size
from adapterops.reports.findings import Finding, shares, some, span, times

FLAT = 0.8
"""From this effective rank on, as a fraction of the rank, the dimensions carry nearly equal shares."""

FLAT_FROM = 4
"""Below this rank the shape of a spectrum says little."""

EMPTY = 0.5
"""A tail is empty if this fraction of the rank keeps `ENERGY`."""

DWARFS = 1.0
"""‖ΔW‖ / ‖W₀‖ from which an update is larger than what it updates."""

LARGE = 0.2
"""‖ΔW‖ / ‖W₀‖ that is unusual: LoRA has 0.3 to 5 % as a rule."""

MOST, FEW = 0.5, 0.25
"""Most of the update is this fraction of its energy; few layers are this fraction of them."""

LAYERS_FROM = 4
"""With fewer layers than these, no selection of them counts as few."""


def untrained(comparison: Comparison) -> Iterator[Finding]:
    for index, profile in enumerate(comparison.profiles):
        zero = [module for module, each in profile.spectra.items() if not each.norm]
        numbers = {"zero_modules": len(zero), "modules": len(profile.spectra)}
        if zero and len(zero) == len(profile.spectra):
            only = f": only its {profile.full} full tensors were" if profile.full else ", and changes nothing"
            text = f"{profile.name} was never trained{only}: B is zero in every module."
            if profile.dora:
                text = f"B is zero in every module of {profile.name}: only its magnitudes can change something."
            yield Finding("never-trained", "warning", text, (index,), numbers)
        elif zero:
            text = f"{len(zero)} of {len(profile.spectra)} modules of {profile.name} were never trained: {some(zero)}."
            yield Finding("partly-trained", "warning", text, (index,), numbers)


def magnitudes(comparison: Comparison) -> Iterator[Finding]:
    """What the figures leave out of DoRA, and what it does to the weights with that."""
    for index, profile in enumerate(comparison.profiles):
        if not profile.dora:
            continue
        every = len(profile.layout)
        where = "" if len(profile.dora) == every else f" in {len(profile.dora)} of {count(every, 'module')}"
        text = f"{profile.name} is DoRA{where}: the figures here are of ΔW = s·BA alone, without the magnitudes. "
        numbers: dict[str, Any] = {"dora_modules": len(profile.dora)}
        level = "note"
        if comparison.changed:
            each = {module: change / W if W else math.inf for module, (change, W) in comparison.changed.items()}
            worst, total = max(each, key=each.__getitem__), comparison.change
            level = "warning" if total >= DWARFS else "note"
            numbers |= {"relative_with_magnitudes": total, "module": worst, "largest": each[worst]}
            text += f"With them the weights change by {percent(total)} (‖W' - W0‖ / ‖W0‖), most in {worst} ({percent(each[worst])})."
        else:
            text += "--base MODEL adds how much the weights change with them."
        yield Finding("dora", level, text, (index,), numbers)


def flat(comparison: Comparison) -> Iterator[Finding]:
    """The energy-weighted mean of effective rank / rank, over modules whose rank could be higher."""
    fullness: dict[int, float] = {}
    for index, profile in enumerate(comparison.profiles):
        wide = {m: each for m, each in profile.layout.items() if FLAT_FROM <= each.rank < min(each.shape)}
        total = sum(profile.spectra[m].norm ** 2 for m in wide)
        used = (
            profile.spectra[m].norm ** 2 * profile.spectra[m].effective_rank / each.rank for m, each in wide.items()
        )
        if total and (share := sum(used) / total) >= FLAT:
            fullness[index] = share
    if not fullness:
        return
    flat = [comparison.profiles[index] for index in fullness]
    names = some([each.name for each in flat])
    which = f"The update of {names} is flat: its" if len(flat) == 1 else f"The updates of {names} are flat: their"
    text = (
        f"{which} {span([each.rank for each in flat], str)} dimensions carry nearly equal shares (effective rank "
        f"{span([each.effective_rank for each in flat], '{:.1f}'.format)}). A higher rank may help: try one."
    )
    numbers = {"effective_share_of_rank": list(fullness.values()), "threshold": FLAT}
    yield Finding("flat", "note", text, tuple(fullness), numbers)


def tail(comparison: Comparison) -> Iterator[Finding]:
    for index, profile in enumerate(comparison.profiles):
        rank, (few, enough) = profile.rank, profile.bracket
        if profile.norm and enough <= EMPTY * rank:
            before, after = (cut(profile.layout, profile.spectra, each).bytes for each in (rank, enough))
            ranks = f"rank {few}" if few == enough else f"ranks {few} to {enough}"
            text = (
                f"{profile.name} is stored with rank {rank} ({size(before)}). Rank {enough} keeps at least {percent(ENERGY)} of its energy "
                f"({size(after)}), and rank {few} keeps {percent(kept_energy(profile.spectra.values(), few))}. "
                f"Try {ranks} ({'adapterops fuse, then extract' if profile.dora else 'adapterops truncate'} --rank {few})."
            )
            yield Finding("empty-tail", "note", text, (index,), {"rank": rank, "bracket": [few, enough]})


def norm(comparison: Comparison) -> Iterator[Finding]:
    for index, profile in enumerate(comparison.profiles):
        total = comparison.relative(index)
        if total is None or not profile.norm or profile.dora:
            continue
        each = {module: comparison.relative(index, [module]) or 0.0 for module in profile.spectra}
        worst = max(each, key=each.__getitem__)
        over = [module for module, value in each.items() if value >= DWARFS]
        numbers = {"relative": total, "largest": each[worst], "module": worst, "modules_over": len(over)}
        if total >= DWARFS:
            text = (
                f"The norm of {profile.name} is {times(total)} that of the weights it changes. "
                "Is its scale (alpha) meant to be that large?"
            )
            yield Finding("dwarfs", "warning", text, (index,), {**numbers, "threshold": DWARFS})
        elif over:
            text = (
                f"The norm of {profile.name} is above that of the weight in {len(over)} of {len(each)} modules, most in {worst} "
                f"({times(each[worst])} its weight)."
            )
            yield Finding("dwarfs", "warning", text, (index,), {**numbers, "threshold": DWARFS})
        elif total >= LARGE:
            text = f"The norm of {profile.name} is {percent(total)} of that of the weights it changes; most LoRAs have 0.3% to 5%."
            yield Finding("large", "note", text, (index,), {**numbers, "threshold": LARGE})


def layers(comparison: Comparison) -> Iterator[Finding]:
    for index, profile in enumerate(comparison.profiles):
        energy = shares(comparison, index, lambda module: located(module)[:2])
        numbered = {place: share for place, share in energy.items() if place[1] is not None}
        if len(numbered) < LAYERS_FROM:
            continue
        chosen, carried = [], 0.0
        for place in sorted(numbered, key=lambda place: -numbered[place]):
            if carried >= MOST:
                break
            chosen.append(place)
            carried += numbered[place]
        if carried >= MOST and len(chosen) <= FEW * len(numbered):
            names = some([str(number) for _, number in sorted(chosen)])
            where = f"{percent(carried)} of it, in {len(chosen)} of {len(numbered)} layers"
            text = f"Most of the update of {profile.name} is in these layers: {names} ({where})."
            yield Finding(
                "layers",
                "note",
                text,
                (index,),
                {"layers": [number for _, number in sorted(chosen)], "energy": carried},
            )


def kinds(comparison: Comparison) -> Iterator[Finding]:
    for index, profile in enumerate(comparison.profiles):
        energy = shares(comparison, index, comparison.kinds.__getitem__)
        if len(energy) < 3:
            continue
        first = max(energy, key=energy.__getitem__)
        if energy[first] >= MOST:
            text = f"Most of the update of {profile.name} is in {first} ({percent(energy[first])} of it)."
            yield Finding("kinds", "note", text, (index,), {"kind": first, "energy": energy[first]})
