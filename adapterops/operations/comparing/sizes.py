"""What adapters take in memory, at any rank, next to their dense updates and their base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adapterops.formats.models.converted import convertible
from adapterops.operations.comparing.analysis import ModuleSpectrum, kept_energy
from adapterops.operations.comparing.comparison import Comparison
from adapterops.quant.registry import make
from adapterops.updates.layout import Layout

HALF = 2
"""Bytes of a number in 16 bits."""


@dataclass(frozen=True)
class Sizes:
    """Parameters and bytes, by arithmetic.

    `parameters` and `bytes` are those of each adapter, as stored; `adapted` counts the entries of the weights that any
    of them changes. `model` counts those of the whole base, where there is one: else the adapted weights stand for it.
    """

    parameters: tuple[int, ...]
    bytes: tuple[int, ...]
    adapted: int
    model: int | None
    model_16bit: int
    model_4bit: int

    @property
    def dense_16bit(self) -> int:
        """Bytes of one dense update of all adapted weights."""
        return HALF * self.adapted

    def training(self, fixed: int, parameters: int) -> tuple[int, int, int]:
        """Bytes of weights, of gradients, and of Adam's two moments, where `fixed` bytes of weights stay as they are and
        `parameters` are trained, each of these numbers in 16 bits.
        """
        return fixed + HALF * parameters, HALF * parameters, 2 * HALF * parameters


def sizes(comparison: Comparison) -> Sizes:
    """The arithmetic of memory:
    4 bits are NF4 with the scales of its blocks, for the weights that transformers quantizes.
    """
    layout = {module: each for profile in comparison.profiles for module, each in profile.layout.items()}
    adapted = sum(each.entries for each in layout.values())
    whole = quantized = adapted
    if comparison.base:
        entries = {name: spec.matrix[0] * spec.matrix[1] for name, spec in comparison.base.layout.items()}
        whole = sum(entries.values())
        quantized = sum(entries[name] for name in convertible(comparison.base.layout, comparison.base.config))
    return Sizes(
        tuple(sum(each.parameters for each in profile.layout.values()) for profile in comparison.profiles),
        tuple(sum(each.bytes for each in profile.layout.values()) for profile in comparison.profiles),
        adapted,
        whole if comparison.base else None,
        HALF * whole,
        round(make("nf4").bits / 8 * quantized) + HALF * (whole - quantized),
    )


@dataclass(frozen=True)
class SizeAtRank:
    """What is left of an adapter at a rank: the energy kept, ‖ΔW - cut‖ / ‖ΔW‖, and its size."""

    rank: int
    energy: float
    error: float
    parameters: int
    bytes: int


def cut(layout: Mapping[str, Layout], spectra: Mapping[str, ModuleSpectrum], rank: int) -> SizeAtRank:
    """What is left at one rank for all modules; those that have less stay as they are."""
    energy = kept_energy(spectra.values(), rank)
    smaller = [replace(each, rank=min(rank, each.rank)) for each in layout.values()]
    return SizeAtRank(
        rank, energy, math.sqrt(max(0.0, 1 - energy)), sum(s.parameters for s in smaller), sum(s.bytes for s in smaller)
    )


def cuts(layout: Mapping[str, Layout], spectra: Mapping[str, ModuleSpectrum]) -> list[SizeAtRank]:
    """What is left at ranks 1, 2, 4, ... and the full one."""
    full = max((len(each.values) for each in spectra.values()), default=0)
    return [
        cut(layout, spectra, rank) for rank in sorted({2**k for k in range(full.bit_length()) if 2**k < full} | {full})
    ]
