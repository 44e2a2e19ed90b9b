"""One adapter by itself: what it is called, its layout and its spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.operations.comparing.analysis import ENERGY, LITTLE, ModuleSpectrum, rank_of
from adapterops.provenance.history import Source
from adapterops.updates.layout import Layout


@dataclass(frozen=True)
class Profile:
    """One adapter by itself. `full` counts the tensors that replace the base's; of their contents nothing is said.
    `source` is what a command would read it from: a reference, or the end of a path; None for one in memory.
    `dora` are the modules that have magnitudes, which are in no figure: layout and spectra are those of ΔW without them.
    """

    name: str
    source: str | None
    base_model: str | None
    layout: Mapping[str, Layout]
    spectra: Mapping[str, ModuleSpectrum]
    full: int = 0
    dora: Sequence[str] = ()

    @property
    def rank(self) -> int:
        return max((each.rank for each in self.layout.values()), default=0)

    @cached_property
    def norm(self) -> float:
        """sqrt(Σ‖ΔW‖_F²) over all modules."""
        return math.hypot(*(each.norm for each in self.spectra.values()))

    @cached_property
    def bracket(self) -> tuple[int, int]:
        """The ranks of `LITTLE` and of `ENERGY`: what is worth trying is between them."""
        return rank_of(self.spectra.values(), LITTLE), rank_of(self.spectra.values(), ENERGY)

    @cached_property
    def effective_rank(self) -> float:
        """The mean over modules, weighted by their energy."""
        total = self.norm**2
        return sum(each.norm**2 * each.effective_rank for each in self.spectra.values()) / total if total else 0.0


def profiles_of(
    adapters: Sequence[Adapter], spectra: Sequence[Mapping[str, ModuleSpectrum]], dora: Sequence[Sequence[str]]
) -> list[Profile]:
    """What each adapter is by itself, with the spectra of its modules, and those of them that have magnitudes."""
    return [
        Profile(label, _source(each, end), each.config.base_model, each.layout, own, len(each.full), magnitudes)
        for label, end, each, own, magnitudes in zip(
            labels(adapters), _ends(adapters), adapters, spectra, dora, strict=True
        )
    ]


def labels(adapters: Sequence[Adapter]) -> list[str]:
    """What to call each adapter: the end of its path that tells it from the others, or a number.

    >>> labels([])
    []
    """
    found = _ends(adapters)
    return [
        f"{label} ({found[: i + 1].count(label)})" if found.count(label) > 1 else label for i, label in enumerate(found)
    ]


def _ends(adapters: Sequence[Adapter]) -> list[str]:
    """The last part of each path, with as many before it as tell it from the others."""
    paths = [Path(name(adapter)) for adapter in adapters]
    paths = [path.resolve() if path.name in ("", "..") else path for path in paths]
    short = {path: path.name for path in paths}
    for depth in range(2, 5):
        taken = list(short.values())
        short = {
            path: "/".join(path.parts[-depth:]) if taken.count(label) > 1 else label for path, label in short.items()
        }
    return [short[path] for path in paths]


def _source(adapter: Adapter, end: str) -> str | None:
    """What a command would read an adapter from, without its place on this machine."""
    if not isinstance(adapter.history, Source):
        return None
    return adapter.history.remote.reference if adapter.history.remote else end
