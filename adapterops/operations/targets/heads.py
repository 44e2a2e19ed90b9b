"""Rows of q and k projections in the order of a model, for adapters that have them in llama.cpp's.

llama.cpp rotates neighbouring rows of an attention head, transformers the first half against the second: the two halves
of each head take turns in its files.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import at
from adapterops.formats.gguf import check_architecture, heads_of
from adapterops.storage.lazy import Lazy

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Update


def in_order(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter with the rows of every module in the order that the base has. Lazy.

    Raises:
        IncompatibleError: the base is of another architecture; or its config.json does not say how many heads there
            are, or the rows are not as many as these have.

    Source: `LlamaModel.permute` of llama.cpp's converter, inverted.
    """
    with at(path=name(adapter)):
        if adapter.config.architecture:
            check_architecture(adapter.config.architecture, base.config or {})
        if not adapter.interleaved:
            return adapter
        heads = {
            module: heads_of(module, adapter.layout[module].shape[0], field, base.config or {})
            for module, field in adapter.interleaved.items()
        }

    def compute(module: str) -> Update:
        update: Update = adapter.updates[module]
        if module not in heads:
            return update
        factors = update.lowrank()
        assert factors is not None
        return replace(factors, B=halved(factors.B, heads[module]))

    return replace(adapter, updates=Lazy(adapter.layout, compute), interleaved={})


def halved(B: Array, heads: int) -> Array:
    """Rows (head, row of a half, half) as rows (head, half, row of a half).

    >>> import numpy as np
    >>> halved(np.arange(8.0)[:, None], 2).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    rows, rank = B.shape
    return B.reshape(heads, rows // heads // 2, 2, rank).swapaxes(1, 2).reshape(rows, rank)
