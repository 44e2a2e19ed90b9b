"""What a collection has of each of its modules, while it is made: sizes, errors, and what is read again afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.collected import factors, sliced
from adapterops.errors import AdapterOpsError
from adapterops.formats.collections.contents import DTYPES, FORMAT, NONE, SCHEMA, described, open_collection
from adapterops.linalg.coding import Code
from adapterops.storage.place import Place
from adapterops.storage.strict import json_text
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import file_size
from adapterops.updates.protocol import Array

CLOSE = 1e-5
"""What kernels with other numbers of threads may differ by, in float32."""


@dataclass(frozen=True)
class Compressed:
    """What `compress` wrote, or will.

    Attributes:
        errors: for each adapter the root of Σ‖ΔW - ΔW'‖_F² / Σ‖ΔW‖_F² over its modules.
        worst: of any adapter the largest ‖ΔW - ΔW'‖_F / ‖ΔW‖_F of a module: the error, the adapter, the module.
        modules: for each module how many different updates are stored.
        bytes: of the file of tensors.
        in_16_bits: what B and A of all adapters take in 16 bits.
        codes: those of them that are codes and what these share, and not tables or names.
        separate: about what codes would be for the same error if nothing was shared.
        asked, cut: the error that was asked for, and whether a rank was, which may make it larger.
    """

    path: Path | None
    errors: Mapping[str, float]
    worst: tuple[float, str, str]
    modules: Mapping[str, int]
    bytes: int
    in_16_bits: int
    codes: int
    separate: int
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


TABLES = ("numbers", "norms", "errors", "bits", "own")
"""What is stored of a module besides codes."""


class CompressedModules:
    """The modules so far.

    Args:
        error, cut: what was asked for, and whether a rank was.
    """

    def __init__(self, adapters: Mapping[str, Adapter], error: float, cut: bool) -> None:
        self._adapters, self._error, self._cut = adapters, error, cut
        self._squares = {name: np.zeros(2) for name in adapters}
        self._worst = (0.0, "", "")
        self._probes: dict[str, list[tuple[float, float]]] = {}
        self._shapes: dict[str, tuple[int, int]] = {}
        self._layout: dict[str, Spec] = {}
        self._codes = self._separate = 0

    def add(self, module: str, members: Sequence[str], code: Code) -> dict[str, tuple[str, Array]]:
        """The tensors of one more module, and their dtypes, by the names that they get."""
        for member, norm, error in zip(members, code.norms, code.errors, strict=True):
            self._squares[member] += error**2, norm**2
            self._worst = max(self._worst, (error / norm if norm else 0.0, member, module))
        own = (sliced(code.tables, number, code.rows) for number in range(len(code.tables.own)))
        self._probes[module] = [_probe(*factors(code.shared, each)) for each in own]
        self._shapes[module] = code.shared.shape
        arrays = _arrays(code, list(self._adapters), members)
        self._codes += sum(array.nbytes for key, array in arrays.items() if key not in TABLES)
        self._separate += code.separate
        tensors = {f"{module}:{key}": (DTYPES[array.dtype.name], array) for key, array in arrays.items()}
        self._layout |= {name: Spec(dtype, array.shape) for name, (dtype, array) in tensors.items()}
        return tensors

    def metadata(self) -> dict[str, str]:
        """The entries of the header."""
        configs = {member: _config(adapter) for member, adapter in self._adapters.items()}
        text = json_text(described(configs, self._shapes, self._error)).decode()
        return {"format": FORMAT, "schema": SCHEMA, "collection": text}

    def compressed(self, out: Path | None) -> Compressed:
        """What was found, once all modules are there."""
        errors = {name: math.sqrt(lost / total) if total else 0.0 for name, (lost, total) in self._squares.items()}
        plain = sum(2 * each.parameters for adapter in self._adapters.values() for each in adapter.layout.values())
        stored = {module: len(probes) for module, probes in self._probes.items()}
        size = file_size(self._layout, self.metadata())
        return Compressed(
            out, errors, self._worst, stored, size, plain, self._codes, self._separate, self._error, self._cut
        )

    def check(self, folder: Path) -> None:
        """Raise AdapterOpsError if the file that was written has another update than was measured, of any module."""
        collection = open_collection(Place(folder))
        for module, probes in self._probes.items():
            stored = collection.stored(module)
            for number, (expected, size) in enumerate(probes):
                found, _ = _probe(*collection.factors(module, stored, number))
                if abs(found - expected) > CLOSE * size:
                    raise AdapterOpsError("is read as another update than was measured", tensor=module)


def _arrays(code: Code, names: Sequence[str], members: Sequence[str]) -> dict[str, Array]:
    """What is stored of a module that some of the adapters have."""
    places = {member: place for place, member in enumerate(members)}

    def column(values: Sequence[float], missing: float, dtype: type[Any]) -> Array:
        return np.array([values[places[name]] if name in places else missing for name in names], dtype)

    sides = {
        f"{side}.{8 * rows.codes.dtype.itemsize}{end}": array
        for side, rows in code.sides.items()
        for end, array in (("", rows.codes), (".step", rows.steps))
    }
    return {
        "numbers": column(code.numbers, NONE, np.int32),
        "norms": column(code.norms, 0.0, np.float64),
        "errors": column(code.errors, 0.0, np.float64),
        "bits": code.tables.bits,
        "own": code.tables.own,
        **sides,
        **({} if code.shared.mean is None else {"mean": code.shared.mean}),
        **code.arrays,
    }


def _probe(B: Array, A: Array) -> tuple[float, float]:
    """One number of an update, in which each of its numbers takes part, and how large it could be."""
    left = np.cos(np.arange(len(B))) @ B.astype(np.float64)
    right = A.astype(np.float64) @ np.cos(np.arange(A.shape[1]))
    return float(left @ right), float(np.linalg.norm(B) * np.linalg.norm(A) * math.sqrt(len(B) * A.shape[1]))


def _config(adapter: Adapter) -> dict[str, Any]:
    """What a config of PEFT says of it besides ranks and scales."""
    targets = adapter.config.targets
    return {
        **adapter.config.fields,
        "base_model_name_or_path": adapter.config.base_model,
        "revision": adapter.config.revision,
        "target_modules": list(targets) if isinstance(targets, tuple) else targets,
    }
