"""What adapters, their dense updates and their base take in memory."""

from __future__ import annotations

from dataclasses import dataclass

from adapterops.formats.quantized import convertible
from adapterops.operations.comparison import Comparison
from adapterops.quant.fourbit import FourBit

HALF = 2
"""Bytes of a number in 16 bits."""


@dataclass(frozen=True)
class Sizes:
    """Parameters and bytes, by arithmetic.

    `parameters` and `bytes` are those of each adapter, as stored; `adapted` counts the entries of the weights that any of
    them changes. `model` counts those of the whole base, where there is one: else the adapted weights stand for it.
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


def sizes(comparison: Comparison) -> Sizes:
    """The arithmetic of memory: 4 bits are NF4 with the scales of its blocks, for the weights that transformers quantizes."""
    layout = {module: each for profile in comparison.profiles for module, each in profile.layout.items()}
    adapted = sum(each.entries for each in layout.values())
    whole = coded = adapted
    if comparison.base:
        entries = {name: spec.matrix[0] * spec.matrix[1] for name, spec in comparison.base.layout.items()}
        whole = sum(entries.values())
        coded = sum(entries[name] for name in convertible(comparison.base.layout, comparison.base.config))
    return Sizes(
        tuple(sum(each.parameters for each in profile.layout.values()) for profile in comparison.profiles),
        tuple(sum(each.bytes for each in profile.layout.values()) for profile in comparison.profiles),
        adapted,
        whole if comparison.base else None,
        HALF * whole,
        round(FourBit().bits / 8 * coded) + HALF * (whole - coded),
    )
