"""Many adapters as one collection: what they share is stored once, and the error of each is measured."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter, check_named, check_needs_no_base, joint, name
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError, at
from adapterops.formats.collections.contents import (
    DTYPES,
    FORMAT,
    NONE,
    SCHEMA,
    check_member,
    described,
    open_collection,
)
from adapterops.formats.diffusion.spellings import OF_IMAGES
from adapterops.linalg.coding import Code, code
from adapterops.provenance.history import Step, sources
from adapterops.provenance.manifest import UNKNOWN, Origin, write_manifest
from adapterops.provenance.manifest import described as hashed
from adapterops.provenance.reader import read_manifest
from adapterops.quant.coded import factors, sliced
from adapterops.storage.outputs import check_output
from adapterops.storage.place import COLLECTION, Place
from adapterops.storage.spool import Spool
from adapterops.storage.staging import staged
from adapterops.storage.strict import json_text
from adapterops.storage.writer import read_back
from adapterops.updates.protocol import Array

ERROR = 0.01
"""The relative error that an update gets where no other is asked for."""

LEAST = 1e-6
"""The least that can be asked for: factors are read again in float32."""

SPOOL = ".spool"
COPIES = 6
"""How often the factors of a module are in memory at most, in float64: as they are read, in canonical form, side by side
for their bases, and as codes.
"""


@dataclass(frozen=True)
class Compressed:
    """What `compress` wrote, or will.

    Attributes:
        errors: for each adapter the root of Σ‖ΔW - ΔW'‖_F² / Σ‖ΔW‖_F² over its modules.
        worst: of any adapter the largest ‖ΔW - ΔW'‖_F / ‖ΔW‖_F of a module: the error, the adapter, the module.
        modules: for each module how many different updates are stored.
        bytes: of the file; those of codes and bases where nothing is written.
        in_16_bits: what B and A of all adapters take in 16 bits.
        alone: about what codes take for the same error where nothing is shared.
        asked, cut: the error that was asked for, and whether a rank was, which may make it larger.
    """

    path: Path | None
    errors: Mapping[str, float]
    worst: tuple[float, str, str]
    modules: Mapping[str, int]
    bytes: int
    in_16_bits: int
    alone: int
    asked: float
    cut: bool

    def as_json(self) -> dict[str, Any]:
        error, member, module = self.worst
        return {
            **self.__dict__,
            "path": None if self.path is None else str(self.path),
            "errors": dict(self.errors),
            "worst": {"error": error, "adapter": member, "module": module},
            "modules": dict(self.modules),
        }


def compress(
    adapters: Mapping[str, Adapter],
    out: str | os.PathLike[str] | None,
    *,
    error: float = ERROR,
    rank: int | None = None,
    force: bool = False,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> Compressed:
    """Write adapters of one base as a collection, a folder that is complete or absent. `open_adapter("OUT#NAME")` is one
    of them again.

    Every update of every module is within `error` of its norm, by a measurement on what is stored. Modules are read, coded
    and written one at a time. With a `rank`, an update keeps at most so many dimensions besides those that are shared, and
    the error is what that makes it.

    Args:
        out: None to measure what would be written, and write nothing.

    Raises:
        OptionError: no adapter, a name that cannot be one, an error or a rank that is not possible.
        IncompatibleError, UnsupportedError: they are not all LoRA of Linear layers of one base; which one is not is named.
        OutputExistsError, ResourceError: as `check_output` and `staged` do.

    Cost: as `code`, for each module.
    """
    _check(adapters, error, rank)
    how = how.within(partial(_memory, adapters))
    codes = _codes(adapters, error, rank, how)
    found = _Found(list(adapters), error, rank is not None)
    if out is None:
        with closing(codes):
            for module, members, each in codes:
                found.add(module, members, each)
        return found.compressed(adapters, None, found.bytes)
    out = Path(out)
    inputs = [source for adapter in adapters.values() for source in sources(adapter.history)]
    check_output(out, [path for source in inputs for path in source.paths], force)
    with staged(out, force=force, sync=how.sync) as folder, closing(codes):
        spool = Spool(folder / SPOOL)
        with closing(spool):
            for module, members, each in codes:
                found.add(module, members, each)
                for key, array in _tensors(each, list(adapters), members).items():
                    spool.add(f"{module}:{key}", DTYPES[array.dtype.name], array)
            text = json_text(described(_configs(adapters), found.shapes, error)).decode()
            spool.into(folder / COLLECTION, {"format": FORMAT, "schema": SCHEMA, "collection": text}, how.sync)
        with read_back():
            found.check(folder)
        result = found.compressed(adapters, out, (folder / COLLECTION).stat().st_size)
        unique = sources(
            step := Step("compress", {"error": error, "rank": rank}, tuple(a.history for a in adapters.values()))
        )
        read = [source.as_json() for source in unique]
        for source in unique:
            source.check_unchanged()
        kept = {"errors": dict(result.errors), "worst": result.as_json()["worst"]}
        write_manifest(
            folder, step, read, origin, kept, {COLLECTION: hashed(folder / COLLECTION)}, torch=False, sync=how.sync
        )
        with read_back():
            read_manifest(folder)
    return result


def _codes(
    adapters: Mapping[str, Adapter], error: float, rank: int | None, how: Execution
) -> Generator[tuple[str, Sequence[str], Code], None, None]:
    """Each module, the adapters that have it, and its code."""
    modules = sorted({module for adapter in adapters.values() for module in adapter.layout})

    def coded(module: str) -> tuple[str, Sequence[str], Code]:
        members = [each for each, adapter in adapters.items() if module in adapter.layout]
        with at(tensor=module):
            updates = [adapters[member].updates[module].lowrank() for member in members]
            return module, members, code(updates, error, rank)

    return local.run(coded, modules, how=how)


def _tensors(found: Code, names: Sequence[str], members: Sequence[str]) -> dict[str, Array]:
    """What is stored of a module, by name."""
    columns = (
        ("numbers", found.numbers, np.int32),
        ("norms", found.norms, np.float64),
        ("errors", found.errors, np.float64),
    )
    at_ = {member: place for place, member in enumerate(members)}
    tensors: dict[str, Array] = {
        key: np.array([values[at_[name]] if name in at_ else empty for name in names], dtype)
        for key, values, dtype in columns
        for empty in [NONE if key == "numbers" else 0.0]
    }
    tensors |= {"bits": found.tables.bits, "own": found.tables.own}
    for side, rows in found.sides.items():
        bits = 8 * rows.codes.dtype.itemsize
        tensors |= {f"{side}.{bits}": rows.codes, f"{side}.{bits}.step": rows.steps}
    if found.shared.mean is not None:
        tensors["mean"] = found.shared.mean
    return tensors | found.arrays


class _Found:
    """What has been coded so far."""

    def __init__(self, names: Sequence[str], asked: float, cut: bool) -> None:
        self._asked, self._cut = asked, cut
        self._squares = {name: np.zeros(2) for name in names}
        self._worst = (0.0, "", "")
        self._probes: dict[str, list[float]] = {}
        self.shapes: dict[str, tuple[int, int]] = {}
        self.bytes = self._alone = 0

    def add(self, module: str, members: Sequence[str], found: Code) -> None:
        for member, norm, error in zip(members, found.norms, found.errors, strict=True):
            self._squares[member] += error**2, norm**2
            if norm:
                self._worst = max(self._worst, (error / norm, member, module))
        own = (sliced(found.tables, number, _rows_of(found)) for number in range(len(found.tables.own)))
        self._probes[module] = [_probe(*factors(found.shared, each)) for each in own]
        self.shapes[module] = found.shared.shape
        self.bytes += sum(array.nbytes for array in _tensors(found, list(self._squares), members).values())
        self._alone += found.alone

    def compressed(self, adapters: Mapping[str, Adapter], out: Path | None, size: int) -> Compressed:
        errors = {name: math.sqrt(lost / total) if total else 0.0 for name, (lost, total) in self._squares.items()}
        plain = sum(2 * each.parameters for adapter in adapters.values() for each in adapter.layout.values())
        stored = {module: len(probes) for module, probes in self._probes.items()}
        return Compressed(out, errors, self._worst, stored, size, plain, self._alone, self._asked, self._cut)

    def check(self, folder: Path) -> None:
        """Raise AdapterOpsError if the file that was written has another update than was measured, of any module."""
        collection = open_collection(Place(folder))
        for module, probes in self._probes.items():
            stored = collection.stored(module)
            for number, expected in enumerate(probes):
                if _probe(*collection.factors(module, stored, number)) != expected:
                    raise IncompatibleError("is read as another update than was stored", tensor=module)


def _rows_of(found: Code) -> Any:
    return lambda name, begin, end: found.arrays[name][begin:end]


def _probe(B: Array, A: Array) -> float:
    """One number of an update, in which each of its numbers takes part."""
    left, right = np.cos(np.arange(len(B))), np.cos(np.arange(A.shape[1]))
    return float((left @ B.astype(np.float64)) @ (A.astype(np.float64) @ right))


def _configs(adapters: Mapping[str, Adapter]) -> dict[str, dict[str, Any]]:
    """What a config of PEFT says of each besides ranks and scales."""
    return {
        member: {
            **adapter.config.fields,
            "base_model_name_or_path": adapter.config.base_model,
            "revision": adapter.config.revision,
            "target_modules": list(targets) if isinstance(targets := adapter.config.targets, tuple) else targets,
        }
        for member, adapter in adapters.items()
    }


def _memory(adapters: Mapping[str, Adapter], workers: int) -> int:
    """About the bytes that so many workers take: each has all factors of a module, several times."""
    totals: dict[str, int] = {}
    for adapter in adapters.values():
        for module, layout in adapter.layout.items():
            totals[module] = totals.get(module, 0) + layout.parameters
    return workers * COPIES * 8 * max(totals.values(), default=0)


def _check(adapters: Mapping[str, Adapter], error: float, rank: int | None) -> None:
    if not adapters:
        raise OptionError("there is no adapter to compress", hint="name at least one")
    if not LEAST <= error < 1:
        raise OptionError(f"the error must be at least {LEAST:g} and below 1, got {error:g}")
    if rank is not None and rank < 1:
        raise OptionError(f"the rank must be at least 1, got {rank}")
    for member, adapter in adapters.items():
        check_member(member)
        _check_carried(adapter)
    bases: dict[str, Adapter] = {}
    for adapter in adapters.values():
        if adapter.config.base_model:
            bases.setdefault(adapter.config.base_model, adapter)
    if len(bases) > 1:
        (first, one), (second, other) = list(bases.items())[:2]
        raise IncompatibleError(
            f"is for {second}, and {name(one)} for {first}: a collection has adapters of one base",
            path=name(other),
            hint="compress the adapters of each base by themselves",
            code="E-BASE",
        )
    check_named(list(adapters.values()))
    for module in sorted({module for adapter in adapters.values() for module in adapter.layout}):
        joint(list(adapters.values()), module)


def _check_carried(adapter: Adapter) -> None:
    """Raise UnsupportedError for an adapter of which a collection could not hold all."""
    leave = "leave it out: it stays an adapter of its own"
    check_needs_no_base(adapter, "compressed")
    config = adapter.config
    if config.format in OF_IMAGES:
        raise UnsupportedError(
            f"is in the format {config.format}, whose names a collection does not hold",
            path=name(adapter),
            hint=f"convert it first: adapterops convert {name(adapter)} --to peft",
        )
    if not adapter.layout:
        raise UnsupportedError("has no modules to compress", path=name(adapter), hint=leave)
    dense = {
        module: f"{each.kind}, which has no factors of its rank"
        for module, each in adapter.layout.items()
        if each.dense
    }
    kernels = {module: "of a convolution" for module, each in adapter.layout.items() if len(each.kernel) > 1}
    cannot = {
        **dict.fromkeys(adapter.full, "a full tensor (of modules_to_save, or a bias)"),
        **dict.fromkeys(config.experts, "LoRA on a parameter of experts"),
        **dict.fromkeys(config.embeddings, "LoRA on an embedding"),
        **dense,
        **kernels,
    }
    for tensor, what in cannot.items():
        raise UnsupportedError(
            f"is {what}, and a collection holds LoRA of Linear layers", path=name(adapter), tensor=tensor, hint=leave
        )
