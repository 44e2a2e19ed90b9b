"""An adapter by the names of a base's files: what programs that serve models look for in an adapter."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.ties import stated
from adapterops.operations.targets.based import on_base
from adapterops.operations.targets.parts import rows_of
from adapterops.operations.targets.table import resolve
from adapterops.operations.targets.target import Target
from adapterops.storage.lazy import Lazy


def named_in_files(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The same updates with a module for each weight in the files of a base, under the name that it has there.

    A model in memory may hold the weights of all experts in one parameter, of which its files have each expert's
    gate_proj, up_proj and down_proj: then LoRA on that parameter becomes LoRA on these. With ΔW = B A of gate and up
    together, gate has A and the upper half of B, up has A and the lower half.

    Raises:
        UnsupportedError: the base stores several modules of the adapter in one weight.
        IncompatibleError: as `resolve` does.
    """
    adapter = on_base(adapter, base)
    places: dict[str, Target] = {}
    for tensor, edit in resolve(adapter, base, only_updates=True).edits.items():
        spec = base.layout[edit.start or tensor]
        for target in edit.targets:
            if target.shape != spec.matrix or len(spec.shape) != 2:
                raise UnsupportedError(
                    f"is a part of {tensor} in the files of the base, which are to name the modules",
                    tensor=target.source,
                    hint="leave --names files out: who loads this base takes the names of the model in memory",
                )
            places[tensor.removesuffix(WEIGHT)] = target
    layout = {
        module: replace(adapter.layout[target.source], shape=_shape(target, adapter))
        for module, target in sorted(places.items())
    }

    def compute(module: str) -> Any:
        target = places[module]
        return rows_of(adapter.updates[target.source], slice(target.first, target.first + layout[module].shape[0]))

    config = replace(
        adapter.config,
        targets=_suffixes(layout, base),
        target_parameters=(),
        experts={},
        model=stated(base.layout, base.config),
    )
    return replace(adapter, updates=Lazy(layout, compute), layout=layout, config=config, scalings={})


def _shape(target: Target, adapter: Adapter) -> tuple[int, int]:
    """The (out, in) of what a target adds: a weight that is stored transposed is that of a whole module."""
    whole = adapter.layout[target.source].shape
    return whole if target.transposed else (target.shape[0], whole[1])


def _suffixes(modules: Collection[str], base: Checkpoint) -> tuple[str, ...]:
    """The last names of modules where the base has no other module of that name; else all of the name."""
    weights = (name.removesuffix(WEIGHT) for name, spec in base.layout.items() if len(spec.shape) > 1)
    others = {name.rpartition(".")[2] for name in weights if name not in modules}
    last = {module: module.rpartition(".")[2] for module in modules}
    return tuple(sorted({module if end in others else end for module, end in last.items()}))
