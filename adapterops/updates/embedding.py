"""LoRA on an embedding, whose weight has a row for each word."""

from __future__ import annotations

from collections.abc import Mapping

from adapterops.errors import UnsupportedError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank, measure
from adapterops.updates.protocol import Array

A, B = "lora_embedding_A", "lora_embedding_B"


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """A is (r, words) and B (width, r); the weight is (words, width)."""
    (width, words), rank, bound, kernel = measure(shapes, A, B)
    if kernel:
        raise UnsupportedError(
            f"{A} has the shape {list(shapes[A])} of a convolution, and an embedding has none", hint="save it again"
        )
    return Measure((words, width), rank, bound)


def _build(arrays: Mapping[str, Array], scale: float) -> LowRank:
    """ΔW = scale · (B A)ᵀ"""
    return LowRank(arrays[A].T, arrays[B].T, scale)


KINDS.add("embedding", Kind("LoRA", {A: "", B: ""}, _measure, _build, untrained=A, embedding=True))
