"""What is inside an adapter: from its headers alone, or from its singular values."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adapterops.adapters.checks import check_needs_no_base, extracted
from adapterops.adapters.opening import HELD
from adapterops.arrays.dtypes import BITS
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import InputError, at, check_opened
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.peft.loaded import left_out
from adapterops.formats.peft.parts import Parts
from adapterops.formats.registry import DEFAULT as PEFT
from adapterops.formats.registry import format_of, read_adapter
from adapterops.operations.comparing.kinds import kinds
from adapterops.operations.comparing.shards import SharedRows, shares
from adapterops.storage.place import Place
from adapterops.updates.layout import Layout, without_biases

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter
    from adapterops.updates.protocol import Array

START = 4096
"""Bytes of a B in which a trained one shows a number."""

ENERGY, LITTLE = 0.99, 0.8
"""Fractions of ‖ΔW‖_F². Between the ranks that keep them is what is worth trying, by what tasks were measured to need:
rank 2 of 8, with 82% of the energy, lost no point of accuracy, and rank 1 four (four texts on an encoder).
"""


@dataclass(frozen=True)
class ModuleGroup:
    """The modules of one kind, such as all `q_proj`, that have one shape, rank, alpha and dtype. `alpha` and `scale` are None
    where nothing states them.
    """

    kind: str
    modules: tuple[str, ...]
    shape: tuple[int, int]
    rank: int
    alpha: float | None
    rslora: bool
    scale: float | None
    dtype: str
    parameters: int


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. `dense` is the number of entries of the adapted weights, 0 where the files do not say that;
    `zero` are modules whose B is all zero, None where nothing was read to know it; `full` are tensors that replace the
    base's; `further` are other files in its folder that may hold trained weights, `missing` what modules_to_save names and no tensor
    belongs to, `left_out` the modules that PEFT would leave out when it loads the files, as far as these show it, `shares` those
    whose B has numbers in an equal share of its rows alone, None where nothing was read."""

    path: Place
    format: str
    kinds: tuple[str, ...]
    base_model: str | None
    revision: str | None
    size: int
    groups: tuple[ModuleGroup, ...]
    modules: int
    parameters: int
    dense: int
    zero: tuple[str, ...] | None
    full: tuple[str, ...]
    further: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    shares: tuple[SharedRows, ...] | None = ()

    def as_json(self) -> dict[str, Any]:
        groups = [{**group.__dict__, "modules": list(group.modules)} for group in self.groups]
        zero = None if self.zero is None else list(self.zero)
        return {
            **self.__dict__,
            "path": str(self.path),
            "kinds": list(self.kinds),
            "groups": groups,
            "zero": zero,
            "full": list(self.full),
            "further": list(self.further),
            "missing": list(self.missing),
            "left_out": list(self.left_out),
            "shares": None if self.shares is None else [share.as_json() for share in self.shares],
        }


def inspect(
    source: str | os.PathLike[str] = ".", *, alpha: float | None = None, allow_pickle: bool = False
) -> Inspection:
    """Format, base, modules, ranks and scales of the adapter at `source`, also where it does not state its scale. Imports no
    torch and does no arithmetic.

    Raises:
        NotFoundError, InputError, UnsupportedError: as `read_adapter` does.

    Cost: the headers, and of each B as much as it takes to find a number that is not zero; of a file elsewhere the
        header alone.
    """
    place = replace(Place.of(source), allow_pickle=allow_pickle).once()
    files, scaled = _read(place, alpha)
    here = not place.missing(file.path for file in files.tensors)
    layouts = without_biases({module: files.layout(module) for module in files.modules})
    return Inspection(
        place,
        format_of(place),
        tuple(sorted({parts.kind.name for parts in files.modules.values()})),
        files.config.base_model,
        files.config.revision,
        sum(file.identity.size for file in files.tensors),
        _groups(files, layouts, scaled),
        len(layouts),
        sum(map(files.parameters, layouts)),
        sum(layout.entries for layout in layouts.values()) if all(each.entries for each in layouts.values()) else 0,
        _zero(files) if here else None,
        tuple(files.full),
        files.further,
        files.config.missing,
        tuple(left_out(files)) if format_of(place) == PEFT else (),
        shares(files) if here else None,
    )


def _read(place: Place, alpha: float | None) -> tuple[AdapterFiles, bool]:
    """The files of an adapter, and whether its scale is known: what else is in them is not the less."""
    try:
        return read_adapter(place, alpha), True
    except InputError as error:
        if error.code != "E-ALPHA" or alpha is not None:
            raise
        try:
            return read_adapter(place, 1.0), False
        except InputError:
            raise error from None


def _groups(files: AdapterFiles, layouts: Mapping[str, Layout], scaled: bool) -> tuple[ModuleGroup, ...]:
    found: dict[tuple[Any, ...], list[str]] = {}
    named = kinds(layouts)
    for module, layout in layouts.items():
        scaling = files.scalings[module]
        size = files.parameters(module)
        key = (
            named[module],
            layout.shape,
            scaling.rank,
            scaling.alpha if scaled else None,
            scaling.rslora,
            scaling.scale if scaled else None,
            layout.dtype,
            size,
        )
        found.setdefault(key, []).append(module)
    return tuple(
        ModuleGroup(kind, tuple(modules), shape, rank, alpha, rslora, scale, dtype, len(modules) * size)
        for (kind, shape, rank, alpha, rslora, scale, dtype, size), modules in found.items()
    )


def _zero(files: AdapterFiles) -> tuple[str, ...]:
    """The modules of which the array that training starts at zero is still that;
    a trained one shows otherwise in its first bytes.
    """
    read = lru_cache(HELD)(files.file.read)  # the experts of a parameter share one

    def start(name: str) -> bytearray:
        return files.file.read(name, 0, min(files.file.entries[name].spec.bytes, START))

    def zeros(parts: Parts, name: str, data: bytes | bytearray) -> bool:
        size = BITS[files.file.entries[name].dtype] // 8
        first, step = parts.expert * size, parts.experts * size
        signs, rest = data[first + size - 1 :: step], (data[first + byte :: step] for byte in range(size - 1))
        return not any(map(any, rest)) and not signs.strip(b"\x00\x80")  # -0.0 is zero too

    known = {
        module: (parts, parts.tensors[parts.kind.untrained])
        for module, parts in files.modules.items()
        if parts.kind.untrained
    }
    return tuple(
        m for m, (parts, name) in known.items() if zeros(parts, name, start(name)) and zeros(parts, name, read(name))
    )


@dataclass(frozen=True)
class ModuleSpectrum:
    """‖ΔW‖_F, the singular values, largest first, and the entropy rank exp(-Σ p ln p) with p = σ²/Σσ²."""

    norm: float
    values: tuple[float, ...]
    effective_rank: float


@dataclass(frozen=True)
class Spectra:
    """The singular values of every module, and the ranks that keep `LITTLE` and `ENERGY` of the energy of all."""

    modules: Mapping[str, ModuleSpectrum]
    bracket: tuple[int, int]

    def as_json(self) -> dict[str, Any]:
        return {
            "bracket": list(self.bracket),
            "modules": {
                module: {**each.__dict__, "values": list(each.values)} for module, each in self.modules.items()
            },
        }


SPECTRUM = 6
"""Times the factors of an update: in float64, their orthogonal bases, and what these are made of."""


def spectra(adapter: Adapter, *, how: Execution = DEFAULT) -> Spectra:
    """The singular values of every update, without forming any of them.

    DoRA is measured without its magnitudes.

    Cost: O((out + in) r²) a module.
    """
    from adapterops.adapters.adapter import Adapter
    from adapterops.linalg.factor import reduced, spectrum
    from adapterops.operations.comparing.magnitudes import without_magnitudes

    check_opened(adapter, Adapter, "open_adapter")
    adapter = without_magnitudes(adapter)
    check_needs_no_base(adapter, "measured without it", hint=extracted(adapter))

    def one(module: str) -> ModuleSpectrum:
        with at(tensor=module):
            return measured(spectrum(reduced(adapter.updates[module], adapter.layout[module].rank)))

    largest = max((layout.held for layout in adapter.layout.values()), default=0)
    how = how.within(lambda workers: workers * SPECTRUM * largest)
    found = dict(zip(adapter.layout, local.run(one, adapter.layout, how=how), strict=True))
    return Spectra(found, (rank_of(found.values(), LITTLE), rank_of(found.values(), ENERGY)))


def measured(values: Array) -> ModuleSpectrum:
    """What is known of an update by its singular values, largest first.

    Raises:
        InputError: their squares are no numbers of float64: nothing can be said of the update's size.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        square = values**2
    total = float(square.sum())
    if not math.isfinite(total):
        raise InputError(
            f"is too large to be measured: its largest singular value is {float(values[0]):.3g}, and the sum of their "
            "squares is too large for float64",
            hint="look at lora_alpha and r in the config of the adapter, which scale it",
            code="E-OVERFLOW",
        )
    share = square[square > 0] / total if total else square[:0]
    effective = math.exp(-float((share * [math.log(each) for each in share]).sum())) if total else 0.0
    return ModuleSpectrum(total**0.5, tuple(values.tolist()), effective)


def rank_of(modules: Collection[ModuleSpectrum], energy: float) -> int:
    """The smallest rank for all modules that keeps this fraction of Σ‖ΔW‖_F²."""
    most = max((len(each.values) for each in modules), default=0)
    total = sum(each.norm**2 for each in modules)
    kept, rank = 0.0, 0
    while rank < most and kept < energy * total:
        kept += sum(each.values[rank] ** 2 for each in modules if rank < len(each.values))
        rank += 1
    return rank


def kept_energy(modules: Collection[ModuleSpectrum], rank: int) -> float:
    """The fraction of Σ‖ΔW‖_F² that the best `rank` dimensions of every module hold;
    1 where there is nothing to hold.
    """
    total, lost = (sum(value**2 for each in modules for value in each.values[start:]) for start in (0, rank))
    return 1 - lost / total if total else 1.0
