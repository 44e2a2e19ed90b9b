"""LoRA that is stored as LoRA, and means something else: the config tells it, the tensors do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.errors import InputError, UnsupportedError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Update

Variant = Callable[[str, Kind], Kind]
"""The kind that the module of a name has, whose arrays are those of a kind."""

STARTED = {"pissa": "PiSSA", "olora": "OLoRA"}
"""Values of init_lora_weights under which the factors belong to a base that can be computed from the stored one."""

BLOCKS = {"target_modules_bd_a": "lora_A", "target_modules_bd_b": "lora_B"}
"""Which factor is block-diagonal in the modules that a field of use_bdlora names."""


def plain(module: str, kind: Kind) -> Kind:
    """None: every kind is what its arrays say."""
    return kind


def variant(fields: Any) -> Variant:
    """The variant of LoRA that a config sets; any other kind is what it is.

    Raises:
        InputError: the config's description of its blocks is damaged.
        UnsupportedError: it sets two.
    """
    fields = fields if isinstance(fields, dict) else {}
    start, blocks = STARTED.get(str(fields.get("init_lora_weights"))), fields.get("use_bdlora")
    if start and (blocks or fields.get("use_dora") or fields.get("kasa_config")):
        raise UnsupportedError(
            f"init_lora_weights is {fields['init_lora_weights']!r} of another variant of LoRA than the plain one",
            hint="merge it into its base with PEFT: merge_and_unload",
        )
    sides = _sides(blocks) if blocks else ()

    def of(module: str, kind: Kind) -> Kind:
        if kind is not KINDS["LoRA"]:
            return kind
        if start:
            return KINDS[start]
        last = module.rpartition(".")[2]
        found = {role for pattern, role in sides if pattern in last}
        if len(found) > 1:
            raise InputError("both of its factors are block-diagonal by use_bdlora", tensor=module, code="E-CONFIG")
        return _in_blocks(kind, found.pop(), int(blocks["nblocks"])) if found else kind

    return of


def _sides(blocks: Any) -> list[tuple[str, str]]:
    """Parts of modules' names, each with the factor that is block-diagonal there."""
    count = blocks.get("nblocks") if isinstance(blocks, dict) else None
    named = {field: blocks.get(field) or [] for field in BLOCKS} if isinstance(blocks, dict) else {}
    sound = all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in named.values())
    if type(count) is not int or count < 1 or not sound:
        raise InputError(f"use_bdlora is {blocks!r}, expected nblocks and lists of names", code="E-CONFIG")
    return [(pattern, BLOCKS[field]) for field, patterns in named.items() for pattern in patterns]


def _in_blocks(kind: Kind, role: str, count: int) -> Kind:
    """LoRA with one factor block-diagonal, of which the blocks are stored one below the other: BD-LoRA."""

    def measured(shapes: Mapping[str, Shape]) -> Measure:
        high, *wide = shapes[role]
        if high % count or len(wide) != 1:
            raise InputError(f"{role} has the shape {[high, *wide]}, and is {count} blocks", code="E-SHAPE")
        return kind.measure({**shapes, role: (high, wide[0] * count)})

    def built(arrays: Mapping[str, Array], scale: float) -> Update:
        import numpy as np

        blocks: Sequence[Array] = np.split(arrays[role], count)
        high, wide = blocks[0].shape
        whole = np.zeros((high * count, wide * count), blocks[0].dtype)
        for place, block in enumerate(blocks):
            whole[place * high : (place + 1) * high, place * wide : (place + 1) * wide] = block
        return kind.build({**arrays, role: whole}, scale)

    return replace(kind, name="BD-LoRA", measure=measured, build=built)
