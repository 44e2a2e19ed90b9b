"""The experts of an adapter as a checkpoint has them: all in one parameter, or each by itself, with gate and up apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapterops.adapter import Adapter
from adapterops.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.naming import INTERLEAVED, canonical, experts_of
from adapterops.storage.lazy import Lazy

if TYPE_CHECKING:
    from adapterops.updates.protocol import Linear

GATE_UP = ".gate_up_proj"


def fitted(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter, with gate_up_proj of an expert in two wherever the base stores gate_proj and up_proj of it.

    Raises:
        IncompatibleError: a parameter has another number of experts in the base, or another shape.
        UnsupportedError: which rows of gate_up_proj are the gate's is not handled for this type of model.
    """
    if not adapter.config.experts:
        return adapter
    fused, single = experts_of(base.layout)
    for parameter, count in adapter.config.experts.items():
        name = canonical(parameter)
        there = fused.get(name) or len(single.get(name.replace(GATE_UP, ".gate_proj"), ()))
        if count > 1 and there and count != there:
            raise IncompatibleError(
                f"has {count} experts in the adapter, and {there} in the base",
                tensor=parameter,
                hint="the adapter was trained on another model, or its config has a wrong rank",
                code="E-NAMES",
            )
    layout = dict(adapter.layout)
    halves: dict[str, tuple[str, bool, int]] = {}
    for module, each in adapter.layout.items():
        head = canonical(module).removesuffix(GATE_UP)
        path, _, expert = head.rpartition(".")
        shape = single.get(f"{path}.gate_proj", {}).get(int(expert)) if expert.isdecimal() and module.endswith(GATE_UP) else None
        if shape is None or f"{path}{GATE_UP}" in fused:
            continue
        if (base.config or {}).get("model_type") in INTERLEAVED:
            raise UnsupportedError(
                "is stored as gate_proj and up_proj, whose rows are mixed in gate_up_proj of this type of model",
                tensor=module,
                hint="fuse into a checkpoint that stores gate_up_proj",
            )
        high, wide = shape
        if each.shape not in ((2 * high, wide), (wide, 2 * high)):
            raise IncompatibleError(
                f"is {list(each.shape)}, and gate_proj of this expert is {list(shape)} in the base, half of {[2 * high, wide]}",
                tensor=module,
                hint="the adapter was trained on another model",
                code="E-NAMES",
            )
        del layout[module]
        for part, projection in enumerate(("gate_proj", "up_proj")):
            half = f"{module.removesuffix(GATE_UP)}.{projection}"
            layout[half] = replace(each, shape=(high, wide))
            halves[half] = module, each.shape != (2 * high, wide), part * high

    def compute(module: str) -> Linear:
        if module not in halves:
            update: Linear = adapter.updates[module]
            return update
        whole, turned, first = halves[module]
        update = adapter.updates[whole]
        return _rows(update.T if turned else update, slice(first, first + layout[module].shape[0]))

    return replace(adapter, updates=Lazy(layout, compute), layout=layout) if halves else adapter


def _rows(update: Linear, rows: slice) -> Linear:
    """Some rows of an update, as an update: no further from what it stands for than the whole is."""
    from adapterops.updates.dense import Dense

    factors = update.lowrank()
    return Dense(update.dense()[rows], update.error) if factors is None else replace(factors, B=factors.B[rows])
