"""Updates that a file has twice: of a joined weight, and once more of its parts; or under the names of two programs. Each
counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.formats.diffusion.families import divided
from adapterops.formats.diffusion.flat import Flat, flat
from adapterops.storage.lazy import Lazy
from adapterops.updates.lowrank import LowRank

if TYPE_CHECKING:
    from adapterops.updates.protocol import Update

CLOSE = 1e-3
"""How far two updates may be apart, relative to their norm, and be one that was rounded in two ways."""


def without_doubles(adapter: Adapter) -> Adapter:
    """The adapter without the parts of joined modules that add nothing, or what the joined one adds already, and with one of
    two names of the same update.

    What adds something else stays, and is refused where the adapter is used. Cost: no tensor is read unless a module
    is there whole and in parts, or twice.

    Source: SimpleTuner's files of attention that was joined in training have parts that are zero; Z-Image files of some
    trainers hold each update in both ways.
    """
    doubled = {
        part
        for whole, parts in _groups(adapter)
        if _nothing(adapter, parts) or _same(adapter.updates[whole], [adapter.updates[part] for part in parts])
        for part in parts
    }
    doubled |= {other for first, other in _twice(adapter) if _same(adapter.updates[first], [adapter.updates[other]])}
    if not doubled:
        return adapter
    layout = {module: each for module, each in adapter.layout.items() if module not in doubled}
    return replace(
        adapter,
        updates=Lazy(layout, lambda module: adapter.updates[module]),
        layout=layout,
        scalings={module: each for module, each in adapter.scalings.items() if module in layout},
    )


def _groups(adapter: Adapter) -> Iterator[tuple[str, list[str]]]:
    """Modules that are there whole, and the parts of each that are there, too, all of them."""
    there: dict[Flat, str] = {flat(module): module for module in adapter.layout}
    for name, module in there.items():
        for joined, number in divided(name.key):
            parts = [there.get(Flat(part.replace("#", number), name.part)) for part in joined.parts]
            if len(parts) > 1 and all(parts):
                yield module, [part for part in parts if part]


def _twice(adapter: Adapter) -> Iterator[tuple[str, str]]:
    """Modules that are one by two names, the first of them and each other one."""
    first: dict[Flat, str] = {}
    for module in adapter.layout:
        if (name := first.setdefault(flat(module), module)) != module:
            yield name, module


def _nothing(adapter: Adapter, parts: Sequence[str]) -> bool:
    return all(not adapter.layout[part].needs_base and adapter.updates[part].norm() == 0 for part in parts)


def _same(whole: Update, parts: Sequence[Update]) -> bool:
    """Whether the rows of a joined update are those of its parts, one after the other."""
    factors = [each for update in (whole, *parts) if (each := update.lowrank()) is not None]
    if len(factors) <= len(parts) or sum(each.shape[0] for each in factors[1:]) != factors[0].shape[0]:
        return False
    first, difference = 0, 0.0
    for part in factors[1:]:
        rows = slice(first, first + part.shape[0])
        B = np.concatenate([factors[0].folded()[rows], -part.folded()], axis=1)
        difference += LowRank(B, np.concatenate([factors[0].A, part.A])).norm() ** 2
        first = rows.stop
    return bool(difference**0.5 <= CLOSE * factors[0].norm())
