"""DoRA as files hold it: what is added to the weight, and the magnitude vector, which says the lengths of the sum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.errors import UnsupportedError
from adapterops.provenance.history import Source
from adapterops.storage.lazy import Lazy
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS, DORA, MAGNITUDE, Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Update


def with_magnitudes(adapter: Adapter) -> Adapter:
    """An adapter as it was opened, in which each module of DoRA is two: what is added to the weight; and the
    magnitude vector, of outputs (`MODULE.lora_magnitude_vector`) or inputs (`MODULE.dora_scale`), a matrix of one row.

    Both can be written. They can neither be scaled nor merged: an adapter to which anything was done stays as it is.
    """
    found = {module: each for module, each in adapter.layout.items() if each.kind == DORA}
    if not found or not isinstance(adapter.history, Source):
        return adapter
    lengths = {
        module: f"{module}.{BY_INPUTS if each.reads == 'columns' else BY_OUTPUTS}" for module, each in found.items()
    }
    vectors = {name: module for module, name in lengths.items()}
    layout: dict[str, Layout] = {}
    for module, each in adapter.layout.items():
        layout[module] = replace(each, kind="LoRA", reads="") if module in found else each
        if module in lengths:
            ones = (1,) * (len(each.kernel) - 1)
            layout[lengths[module]] = Layout((1, _count(each)), 1, each.dtype, True, MAGNITUDE, kernel=ones)

    def compute(name: str) -> Update:
        update: Any = adapter.updates[vectors.get(name, name)]
        if name in vectors:
            return _vector(update.magnitude, layout[name])
        own: Update = update.direction if name in found else update
        return own

    return replace(adapter, updates=Lazy(layout, compute), layout=layout)


def _count(each: Layout) -> int:
    """How many lengths a module of DoRA has, of a convolution one for each channel."""
    out, into = each.shape
    return out if each.reads == "rows" else each.kernel[0] if each.kernel else into


def _vector(lengths: Any, layout: Layout) -> Update:
    from adapterops.updates.dense import Dense

    if len(lengths) != layout.shape[1]:
        raise UnsupportedError(
            "is DoRA by inputs of a convolution, whose kernel the file does not say",
            hint="fuse it, and extract the change as LoRA: adapterops extract fused --base BASE --rank 32 -o lora",
        )
    return Dense(lengths.reshape(1, -1))
