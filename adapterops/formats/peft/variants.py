"""What tensors mean that are stored like others: LoRA that is not the plain one, and OFT. The config tells it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.errors import InputError, UnsupportedError, in_json
from adapterops.formats.peft.config import is_at_least, start_of
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Update

Variant = Callable[[str, Kind], Kind]
"""The kind that the module of a name has, whose arrays are those of a kind."""

STARTED = {"pissa": "PiSSA", "olora": "OLoRA"}
"""Values of init_lora_weights under which the factors belong to a base that can be computed from the stored one."""

CHANGING = {*STARTED.values(), "KaSA"}
"""Kinds whose training begins by changing the base."""

CAYLEY_NEUMANN = 0, 18
"""The version of PEFT since which the terms of OFT's series are as they are."""

BLOCKS = {"target_modules_bd_a": "lora_A", "target_modules_bd_b": "lora_B"}
"""Which factor is block-diagonal in the modules that a field of use_bdlora names."""


def plain(module: str, kind: Kind) -> Kind:
    """None: every kind is what its arrays say."""
    return kind


def variant(fields: Any, full: Collection[str] = ()) -> Variant:
    """The variant of LoRA that a config sets; any other kind is what it is.

    Args:
        full: tensors of the model that the file has, too: PEFT saves the weight of a head that it adapts, after it took
            out what the training began with.

    Raises:
        InputError: the config's description of its blocks is damaged.
        UnsupportedError: it sets two, or the version of PEFT decides and is not stated.
    """
    fields = fields if isinstance(fields, dict) else {}
    if fields.get("peft_type") == "OFT":
        _check_rotation(fields)
    start, blocks = STARTED.get(start_of(fields) or ""), fields.get("use_bdlora")
    in_groups = KINDS["QA-LoRA"].stated if fields.get("use_qalora") else None
    pooled = in_groups and in_groups(fields)
    others = [name for name in ("use_dora", "kasa_config", "use_bdlora") if fields.get(name)] + ["use_qalora"] * bool(
        pooled
    )
    if start and others:
        raise UnsupportedError(
            f"init_lora_weights is {fields['init_lora_weights']!r}, and {others[0]} is set: no adapter with both is handled",
            hint="merge it into its base with PEFT: merge_and_unload",
        )
    if pooled and (blocks or fields.get("lora_bias")):
        raise UnsupportedError(
            "use_qalora is set next to use_bdlora or lora_bias, and PEFT follows only one of them",
            hint="set to false what the training did not have",
        )
    sides = _sides(blocks) if blocks else ()

    def of(module: str, kind: Kind) -> Kind:
        found = on_stored(module, kind)
        return _continued(found) if f"{module}.weight" in full and found.name in CHANGING else found

    def on_stored(module: str, kind: Kind) -> Kind:
        if kind.stated is not None and fields.get("peft_type") == kind.peft_type:
            return kind.stated(fields)
        if kind.stated is not None and "peft_type" not in fields:
            raise UnsupportedError(
                f"is {kind.name}, and no config says how it is computed",
                tensor=module,
                hint="put the adapter_config.json that it was saved with into its folder",
            )
        if kind is not KINDS["LoRA"]:
            return kind
        if start:
            return KINDS[start]
        if pooled:
            return pooled
        last = module.rpartition(".")[2]
        found = {role for pattern, role in sides if pattern in last}
        if len(found) > 1:
            raise InputError(
                "both of its factors are block-diagonal by use_bdlora",
                hint="write there what it was trained with",
                tensor=module,
                code="E-CONFIG",
            )
        return _in_blocks(kind, found.pop(), int(blocks["nblocks"])) if found else kind

    return of


def _continued(kind: Kind) -> Kind:
    """One that changed its base, on a base that it has changed already: LoRA."""
    build: Callable[..., Any] = kind.build
    return replace(kind, reads="", build=lambda arrays, scale: build(arrays, scale).trained)


def _check_rotation(fields: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for OFT of which the config does not say how this version of PEFT rotates."""
    if "oft_block_size" not in fields:
        raise UnsupportedError(
            "has no oft_block_size: it is OFT of PEFT 0.13 or earlier, which rotates in another way",
            hint="merge it into its base with that version: merge_and_unload",
        )
    if fields.get("use_cayley_neumann", True) and not is_at_least(fields, CAYLEY_NEUMANN):
        raise UnsupportedError(
            "use_cayley_neumann is set, whose terms PEFT 0.18 changed, and peft_version is not 0.18 or later",
            hint="merge it into its base with the version of PEFT that trained it: merge_and_unload",
        )


def _sides(blocks: Any) -> list[tuple[str, str]]:
    """Parts of modules' names, each with the factor that is block-diagonal there."""
    count = blocks.get("nblocks") if isinstance(blocks, dict) else None
    named = {field: blocks.get(field) or [] for field in BLOCKS} if isinstance(blocks, dict) else {}
    sound = all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in named.values())
    if type(count) is not int or count < 1 or not sound:
        raise InputError(
            f"use_bdlora is {in_json(blocks)}, expected nblocks and lists of names",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    return [(pattern, BLOCKS[field]) for field, patterns in named.items() for pattern in patterns]


def _in_blocks(kind: Kind, role: str, count: int) -> Kind:
    """LoRA with one factor block-diagonal, of which the blocks are stored one below the other: BD-LoRA."""

    def measured(shapes: Mapping[str, Shape]) -> Measure:
        high, *wide = shapes[role]
        if high % count or len(wide) != 1:
            raise InputError(
                f"{role} has the shape {[high, *wide]}, and is {count} blocks",
                hint="save the adapter again",
                code="E-SHAPE",
            )
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
