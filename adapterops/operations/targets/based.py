"""What an adapter leaves to the base that it is for: the order of its rows, shapes, and what its training began with."""

from __future__ import annotations

import warnings
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, InputError, UnsupportedError
from adapterops.formats.models.naming import BIAS, Names, canonical
from adapterops.formats.models.ties import shared_modules
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.targets.alternating import joined_in_turn
from adapterops.operations.targets.heads import in_order
from adapterops.operations.targets.holders import without_holder
from adapterops.operations.targets.table import resolve
from adapterops.operations.targets.target import Target
from adapterops.operations.targets.weights import names_of
from adapterops.operations.views import rows_of_view
from adapterops.storage.lazy import Lazy
from adapterops.updates.layout import DIFFERENCE, DORA, LORA_BIAS, Layout

if TYPE_CHECKING:
    from adapterops.updates.dense import Dense
    from adapterops.updates.protocol import Array

Start = tuple[str, Target]
"""A tensor of the base, and what of an update is added to it."""

COMPUTED = 32
"""Bytes for each entry of a weight that an update is computed from: all of it in float64, what it becomes, and copies of these."""


def on_base(adapter: Adapter, base: Checkpoint, *, differences: bool = False, kept: Container[str] = ()) -> Adapter:
    """The adapter with all that the base settles: what became LoRA by that can be scaled and added like any other. Lazy.

    Of PiSSA, OLoRA and KaSA, which change the base before they train, the change is a part of the update then.

    Args:
        differences: what depends on its weight in any other way, such as DoRA, becomes W' - W, entry by entry, which can be
            scaled and added, too. It has no factors: saving cuts DoRA to the rank of its own, and keeps all of the others,
            which have none.
        kept: kinds of which none is made.

    Raises:
        IncompatibleError, UnsupportedError: as `resolve` does.

    Cost: of a module of these three, O(out in min(out, in)) whenever it is asked for, and all of its weight in float64; of a
        difference its entries, too.
    """
    adapter = fitted(adapter, base)
    started = [
        module
        for module, each in adapter.layout.items()
        if each.reads == "weight" or (differences and each.reads and each.kind not in kept)
    ]
    if not started:
        return adapter
    places: dict[str, list[Start]] = {module: [] for module in started}
    for tensor, edit in resolve(adapter, base, only_updates=True).edits.items():
        for target in edit.targets:
            if target.source in places:
                places[target.source].append((edit.start or tensor, target))
    known = {module: _on(each) if module in places else each for module, each in adapter.layout.items()}

    def compute(module: str) -> Any:
        update = adapter.updates[module]
        if module not in places:
            return update
        W = weight_of(places[module], base)
        return update.on(W) if adapter.layout[module].reads == "weight" else _difference(update, W)

    return replace(adapter, updates=Lazy(known, compute), layout=known)


def _on(layout: Layout) -> Layout:
    """Of what depended on its weight, with that."""
    working = COMPUTED * layout.entries
    if layout.reads == "weight":
        return replace(layout, reads="", kind="LoRA", rank=min(2 * layout.rank, *layout.shape), working=working)
    rank = min(layout.rank, *layout.shape) if layout.kind == DORA else min(layout.shape)
    kernel = layout.kernel or (layout.shape[1:] if layout.shape[0] > 1 else ())  # as that of a whole tensor
    return replace(layout, reads="", kind=DIFFERENCE, dense=True, rank=rank, kernel=kernel, working=working)


def _difference(update: Any, W: Array) -> Dense:
    """W' - W of an update that depends on W, all of it."""
    import numpy as np

    from adapterops.updates.dense import Dense

    return Dense(update.change((slice(0, W.shape[0]), slice(0, W.shape[1])), W, np.empty_like(W)))


def weight_of(places: Sequence[Start], base: Checkpoint) -> Array:
    """The weight of a module, (out, in) in float64, from the tensors that have its rows."""
    import numpy as np

    parts = []
    for tensor, target in sorted(places, key=lambda each: each[1].first):
        (rows, columns), stored = target.shape, base.layout[tensor].matrix
        read = rows_of_view(base.used(tensor), stored, target.seen or stored)
        block = read(target.row, target.row + rows)[:, target.column : target.column + columns]
        parts.append(np.array(block, np.float64))
    whole = np.concatenate(parts)
    return whole.T if places[0][1].transposed else whole


def fitted(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter with the names of the model itself, its rows in the order of the base, and every module in the shape that
    it has there. Headers only.

    (IA)³ says of a layer the outputs or the inputs, VeRA and QA-LoRA the outputs. A bias that the base has not is left out where
    it is one of (IA)³, or zeros, which PEFT has of all layers as soon as one has a bias.
    """
    adapter = joined_in_turn(in_order(without_holder(_all_saved(adapter, base), base), base), base)
    shapes = {module: each.shape for module, each in adapter.layout.items()}
    biases = any(each.kind == LORA_BIAS for each in adapter.layout.values())
    if not biases and all(all(shape) for shape in shapes.values()):
        return adapter
    names = Names(base.layout, base.config, shapes, shared_modules(base.layout, base.config))
    layout = {}
    for module, each in adapter.layout.items():
        if not names.candidates(module) and _adds_nothing(module, adapter):
            continue
        shape = each.shape if all(each.shape) else _shape(module, each, names)
        layout[module] = replace(each, shape=shape, reads="" if each.reads == "shape" and all(shape) else each.reads)

    def compute(module: str) -> Any:
        update, (_, into) = adapter.updates[module], layout[module].shape
        if shapes[module] == layout[module].shape:
            return update
        if adapter.layout[module].reads == "shape":
            return update.on(into)
        return replace(update, shape=layout[module].shape)

    return replace(adapter, updates=Lazy(layout, compute), layout=layout)


def _adds_nothing(module: str, adapter: Adapter) -> bool:
    """Whether a module is a bias that does nothing to a layer without one."""
    each = adapter.layout[module]
    if each.kind == LORA_BIAS:
        return not adapter.updates[module].dense().any()
    return each.reads == "entries" and module.endswith(BIAS)


def _all_saved(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter, of which the base shows that it has all that modules_to_save names.

    Raises:
        InputError: the base has a tensor in a module of a name that no tensor of the adapter belongs to.

    Warns:
        AdapterWarning: neither has one.
    """
    missing = adapter.config.missing
    if not missing:
        return adapter
    unseen = []
    there = [each for names in names_of(base.layout, base.config).values() for each in names]
    for module in missing:
        named = AdapterConfig(saved=(canonical(module),))
        if any(named.replaced(canonical(tensor)) for tensor in adapter.full):
            continue  # by another name: block_sparse_moe is the mlp of today
        if lost := next((tensor for tensor in there if named.replaced(canonical(tensor))), None):
            raise InputError(
                f"modules_to_save names {module!r}, the base has {lost} there, and no tensor of the adapter belongs to that",
                path=name(adapter),
                hint="save the adapter again; or take the name out of modules_to_save, if that was not trained",
                code="E-KEY",
            )
        unseen.append(module)
    if unseen:
        warnings.warn(
            f"modules_to_save names {', '.join(unseen)}, of which neither {name(adapter)} nor the base has a tensor",
            AdapterWarning,
            stacklevel=3,
        )
    return replace(adapter, config=replace(adapter.config, missing=()))


def _shape(module: str, layout: Layout, names: Names) -> tuple[int, int]:
    """The (out, in) of a module by the only tensor that it can be; what is known of it, where there is none.

    Raises:
        UnsupportedError: the tensor is the kernel of a convolution.
    """
    found, known = names.candidates(module), layout.shape
    stored = names.base[found[0].start].shape if len(found) == 1 else ()
    if len(stored) > 2:
        raise UnsupportedError(
            f"is {layout.kind}, and {found[0].start} of the base has the shape {list(stored)}: only that of linear layers is handled",
            tensor=module,
            hint="merge it into its base with PEFT: merge_and_unload",
        )
    if len(stored) != 2:
        return known
    sides = (stored[0], stored[1]), (stored[1], stored[0])  # the second of a weight that is stored transposed
    fits = [side for side in sides if all(one in (0, other) for one, other in zip(known, side, strict=True))]
    return fits[0] if fits else known
