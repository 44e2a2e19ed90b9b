"""The modules in the tensors of a GGUF adapter: Linear layers, an embedding, and all experts of a layer in one pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.llama_cpp import SEVERAL
from adapterops.formats.peft.parts import FACTORS, Parts, parts_of
from adapterops.storage.tensors import Entry
from adapterops.updates.kinds import KINDS, Measure, Shape
from adapterops.updates.protocol import Array

EMBEDDED = KINDS["embedding"]
"""As PEFT has it: `lora_embedding_A` is (r, words), `lora_embedding_B` (width, r)."""


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """`lora_A` is (words, r) and `lora_B` (width, r)."""
    return EMBEDDED.measure({"lora_embedding_A": shapes["lora_A"][::-1], "lora_embedding_B": shapes["lora_B"]})


def _build(arrays: Mapping[str, Array], scale: float) -> Any:
    """ΔW = scale · A Bᵀ"""
    return EMBEDDED.build({"lora_embedding_A": arrays["lora_A"].T, "lora_embedding_B": arrays["lora_B"]}, scale)


OF_WORDS = replace(
    EMBEDDED, roles=dict.fromkeys(sorted(FACTORS), ""), measure=_measure, build=_build, untrained="lora_B"
)
"""LoRA on an embedding as llama.cpp has it, which looks rows up in A."""


def parts_in(module: str, roles: Mapping[str, str], entries: Mapping[str, Entry], words: bool) -> Parts:
    """One module of two factors; `words`: it is an embedding."""
    for name in roles.values():
        if len(entries[name].shape) != 2:
            raise UnsupportedError(
                f"has the shape {list(entries[name].shape)}, and is no factor of a matrix",
                tensor=name,
                hint="ask for the adapter in PEFT's format, which it was converted from",
            )
    found = parts_of(module, roles, entries) if not words or roles.keys() != FACTORS else None
    if found is not None:
        return found
    with at(tensor=module):
        shape, rank, bound, _ = OF_WORDS.measure({role: entries[name].shape for role, name in roles.items()})
    return Parts(OF_WORDS, roles, None, shape, rank, bound)


def experts_in(names: Sequence[str], roles: Mapping[str, str], entries: Mapping[str, Entry]) -> dict[str, Parts]:
    """The experts in a pair A (experts, r, in) and B (experts, out, r): a module for each, or of the rows of B for each of these names.

    Args:
        names: those of the projections, with `SEVERAL` for the number of an expert.
    """
    module = names[0].replace(f"{SEVERAL}.", "")
    shapes = {role: entries[name].shape for role, name in roles.items()}
    with at(tensor=module):
        if shapes.keys() != FACTORS:
            missing = ", ".join(sorted(FACTORS - shapes.keys()))
            raise InputError(f"has {', '.join(sorted(shapes))} but no {missing}", hint="save it again", code="E-KEY")
        A, B = shapes["lora_A"], shapes["lora_B"]
        if len(A) != 3 or len(B) != 3 or A[0] != B[0] or B[1] % len(names):
            raise InputError(
                f"has lora_a {list(A)} and lora_b {list(B)}, expected (experts, r, in) and (experts, out, r)",
                hint="save it again",
                code="E-SHAPE",
            )
        height = B[1] // len(names)
        shape, rank, bound, _ = KINDS["LoRA"].measure({"lora_A": A[1:], "lora_B": (height, B[2])})
    found = {}
    for expert in range(A[0]):
        for place, name in enumerate(names):
            first = expert * B[1] + place * height
            rows = {"lora_A": (expert * A[1], (expert + 1) * A[1]), "lora_B": (first, first + height)}
            own = name.replace(SEVERAL, str(expert))
            found[own] = Parts(KINDS["LoRA"], roles, None, shape, rank, bound, expert, A[0], rows)
    return found
