"""What was written of an adapter: its modules, their ranks, and how much of each was kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.factors import Factors
from adapterops.adapters.proof import Exact, Image
from adapterops.errors import AdapterOpsError, count
from adapterops.formats.registry import Arrangement
from adapterops.provenance.history import sources
from adapterops.updates.layout import without_biases

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


@dataclass(frozen=True)
class SavedModule:
    """What was saved of one module: its rank, ‖ΔW‖_F, the fraction of ‖ΔW‖_F² that was kept, and ‖ΔW - B A‖_F / ‖ΔW‖_F
    of that, B and A being the numbers that are stored. `norm` is None where nothing of any module was lost, and nobody
    asked for it.
    """

    rank: int
    norm: float | None
    energy: float
    rounding: float = 0.0


@dataclass(frozen=True)
class Saved:
    """What `save_adapter` did. `dropped`: modules of which nothing was worth keeping."""

    path: Path
    modules: Mapping[str, SavedModule]
    dropped: tuple[str, ...]
    bytes: int
    energy: float
    """The fraction of Σ‖ΔW‖_F² over all modules that was kept."""
    proven: float = 0.0
    """About the largest ‖ΔW x - ΔW' x‖ / ‖ΔW x‖ of a module, ΔW' being what was read from the file again."""
    copied: bool = False
    """Whether its files are those that it was read from, byte for byte."""
    note: str | None = None
    """What is stored otherwise than it was asked for."""
    kinds: tuple[str, ...] = ()
    """What was copied that cannot be written as factors: nothing was computed, and no module has a norm."""

    @property
    def rounding(self) -> float:
        """What rounding B and A moved of that, over all modules: the root of Σ‖ΔW - B A‖_F² / Σ‖ΔW‖_F². Modules with
        numbers that are not finite have no such norms, and do not count.
        """
        finite = [(each.norm, each.rounding) for each in self.modules.values() if each.norm and isfinite(each.norm)]
        size = sum(norm**2 for norm, _ in finite)
        return sqrt(sum((rounding * norm) ** 2 for norm, rounding in finite) / size) if size else 0.0


class SavedModules:
    """What has become of each module so far, and of the groups that are stored in one."""

    def __init__(self, arranged: Arrangement) -> None:
        self._arranged = arranged
        self._group = {module: name for name, group in arranged.groups.items() for module in group}
        self._modules: dict[str, SavedModule] = {}
        self._errors: dict[str, float] = {}
        self.ranks: dict[str, int] = {}
        self.images: dict[str, Image | Exact] = {}

    def tensors(self, results: Iterable[Factors]) -> Iterator[tuple[str, Array]]:
        """The tensors of each group, by name, once all its modules are there; none for one of rank 0, unless all are: an adapter
        that changes nothing has zeros of rank 1.
        """
        waiting: dict[str, tuple[Array, Array]] = {}
        empty: list[Factors] = []
        for each in results:
            self._errors[each.module] = each.error
            self._modules[each.module] = SavedModule(
                each.A.shape[0], each.norm, _energy(each.norm, each.error), each.rounding
            )
            waiting[each.module] = each.A, each.B
            if each.A.shape[0]:
                self.images[each.module] = each.image
                empty.clear()
            elif not self.images:
                empty.append(each)
            group = self._group[each.module]
            if len(waiting) == len(self._arranged.groups[group]):
                joined, rank = self._arranged.joined(group, waiting)
                waiting = {}
                if rank:
                    self.ranks[group] = rank
                    yield from joined.items()
        if empty:
            yield from self.tensors(each._replace(A=_one(each.A, 0), B=_one(each.B, 1)) for each in empty)

    @property
    def unmeasured(self) -> list[str]:
        """Modules whose norm is not known, and is asked for: something was lost of others, and all are the measure of it."""
        lost = any(self._errors.values()) or any(each.rounding for each in self._modules.values())
        return [module for module, each in self._modules.items() if each.norm is None] if lost else []

    def measured(self, norms: Mapping[str, float]) -> None:
        """Take note of these norms."""
        self._modules |= {module: replace(self._modules[module], norm=norm) for module, norm in norms.items()}

    def saved(self, out: Path, size: int, vectors: Collection[str], *, proven: float, copied: bool) -> Saved:
        """All of it. `vectors` are not counted among the modules."""
        norm = sum((each.norm or 0.0) ** 2 for each in self._modules.values()) ** 0.5
        error = sum(error**2 for error in self._errors.values()) ** 0.5
        dropped = tuple(module for module, kept in self._modules.items() if not kept.rank)
        modules = {module: each for module, each in self._modules.items() if module not in vectors}
        return Saved(out, modules, dropped, size, _energy(norm, error), proven, copied, self._arranged.note)


def _one(array: Array, axis: int) -> Array:
    """Zeros of rank 1 in the place of an array of rank 0."""
    shape = (1, array.shape[1]) if axis == 0 else (array.shape[0], 1)
    return np.zeros(shape, array.dtype)


def copied_whole(saved: Saved, adapter: Adapter, again: Adapter) -> Saved:
    """What was saved of an adapter whose files were copied without looking at its updates, and read `again`.

    Raises:
        AdapterOpsError: they are not the bytes that were read.
    """
    hashes = [source.digest() for each in (adapter, again) for source in sources(each.history)]
    if len(set(hashes)) > 1:
        raise AdapterOpsError("is not what was read, though nothing was done to it", path=saved.path)
    kinds = sorted({each.kind for each in adapter.layout.values()})
    modules = {module: SavedModule(each.rank, None, 1.0) for module, each in without_biases(adapter.layout).items()}
    return replace(
        saved, modules=modules, kinds=(*kinds, *([count(len(adapter.full), "full tensor")] * bool(adapter.full)))
    )


def kept(adapter: Adapter, saved: Saved, exact: bool) -> dict[str, Any]:
    """What the manifest says was kept."""
    dense = any(layout.dense for layout in adapter.layout.values())
    return {
        **({"svd": "exact" if exact else "randomized"} if dense else {}),
        "energy_kept": saved.energy,
        "rounding": saved.rounding,
        "modules": {
            module: {"rank": each.rank, "energy_kept": each.energy, "rounding": each.rounding}
            for module, each in saved.modules.items()
        },
    }


def _energy(norm: float | None, error: float) -> float:
    return 1.0 if error == 0 or norm is None else norm**2 / (norm**2 + error**2)
