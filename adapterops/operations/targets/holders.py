"""An adapter of a model that a program holds under a name of its own: `my_wrapper.model.layers.0.q_proj` is a module of the
model itself then, and so is every other name below it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.formats.models.architectures import CODERS, PREFIXES, WEIGHT
from adapterops.formats.models.naming import Names
from adapterops.formats.models.suffixes import OWN, in_common
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.operations.targets.copies import with_copies_named
from adapterops.storage.lazy import Lazy

KNOWN = {*PREFIXES, *OWN, *CODERS}
"""What models themselves begin with."""


def without_holder(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter without what a program calls the model that it holds, which all of its names begin with. Headers only."""
    adapter = with_copies_named(adapter, base)
    names = [*adapter.layout, *adapter.full]
    above = in_common(names)
    if adapter.task_vector or not above or above[0] in KNOWN:
        return adapter
    prefix = _held(names, above, Names(base.layout, base.config))
    return _without(adapter, prefix) if prefix else adapter


def _held(names: Collection[str], above: list[str], there: Names) -> str:
    """The least of what all names begin with that has to be taken away for a base to have one of them."""
    modules = [name.removesuffix(TOKEN_ROWS).removesuffix(WEIGHT) for name in names]
    if any(there.knows(module) or there.in_stated_part(module) for module in modules):
        return ""
    for drop, part in enumerate(above, 1):
        prefix = ".".join(above[:drop]) + "."
        if part in KNOWN - PREFIXES:
            break
        if any(there.knows(module.removeprefix(prefix)) for module in modules):
            return prefix
    return ""


def _without(adapter: Adapter, prefix: str) -> Adapter:
    own = {module.removeprefix(prefix): module for module in adapter.layout}
    layout = {name: adapter.layout[module] for name, module in own.items()}
    config = adapter.config

    def short(names: Collection[str]) -> list[str]:
        return [name.removeprefix(prefix) for name in names]

    return replace(
        adapter,
        updates=Lazy(layout, lambda name: adapter.updates[own[name]]),
        layout=layout,
        scalings={module.removeprefix(prefix): each for module, each in adapter.scalings.items()},
        full={tensor.removeprefix(prefix): each for tensor, each in adapter.full.items()},
        interleaved={module.removeprefix(prefix): each for module, each in adapter.interleaved.items()},
        config=replace(
            config,
            targets=None if isinstance(config.targets, str) else config.targets,
            saved=tuple(short(config.saved)),
            experts={name.removeprefix(prefix): each for name, each in config.experts.items()},
            tokens={name.removeprefix(prefix): each for name, each in config.tokens.items()},
            reversed=frozenset(short(config.reversed)),
            square=frozenset(short(config.square)),
            embeddings=frozenset(short(config.embeddings)),
            unannounced=tuple(short(config.unannounced)),
        ),
    )
