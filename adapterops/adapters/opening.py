"""An adapter in files, opened: headers are read and checked, and tensors when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.doubled import without_doubles
from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError
from adapterops.formats.diffusion.spellings import OF_IMAGES
from adapterops.formats.further import check_none_left_out
from adapterops.formats.registry import read_adapter
from adapterops.provenance.history import Source
from adapterops.storage.lazy import Lazy
from adapterops.storage.place import Place
from adapterops.storage.tensors import Stored
from adapterops.updates.kinds import KINDS

if TYPE_CHECKING:
    from adapterops.formats.adapter_files import AdapterFiles
    from adapterops.updates.lowrank import AsStored
    from adapterops.updates.protocol import Array, Update

HELD = 8
"""How many B's of all experts of a parameter stay in memory, so that they are not read again for each expert."""


def open_adapter(
    source: str | os.PathLike[str] = ".",
    *,
    alpha: float | None = None,
    allow_nonfinite: bool = False,
    allow_pickle: bool = False,
) -> Adapter:
    """The adapter in a folder or a safetensors file. Reads and checks the headers; tensors are read when asked for.

    Args:
        source: a folder that PEFT or MLX-LM saved an adapter to, or one that holds such a folder, or a safetensors
            or GGUF file.
        alpha: the lora_alpha of a file that does not say it.
        allow_pickle: read adapter_model.bin where there are no safetensors, with torch's restricted loader.
        allow_nonfinite: take NaN and infinite numbers for what they are instead of refusing them.

    Raises:
        NotFoundError, InputError, UnsupportedError: as `read_adapter` does.
        InputError: its folder has further files that may hold trained weights.
    """
    place = replace(Place.of(source), allow_pickle=allow_pickle, seen={})
    files = read_adapter(place, alpha)
    check_none_left_out(place, files.paths[0], files.further)
    layout = {module: files.layout(module) for module in files.modules}
    adapter = Adapter(
        Lazy(layout, _updates(files, allow_nonfinite)),
        layout,
        files.config,
        Source(
            place.path,
            files.tensors,
            files.others,
            files.alpha,
            place.remote,
            files.tokenizer,
            place.member,
            place.seen,
        ),
        files.scalings,
        {tensor: files.stored(name) for tensor, name in files.full.items()},
        files.interleaved,
    )
    return without_doubles(adapter) if files.config.format in OF_IMAGES else adapter


def _updates(files: AdapterFiles, allow_nonfinite: bool) -> Callable[[str], Update]:
    """What reads the update of a module."""

    def stored(name: str, rows: tuple[int, int] | None = None, kernel: bool = False) -> AsStored:
        from adapterops.updates.lowrank import AsStored

        found = _finite(files.stored(name), allow_nonfinite, rows)
        return AsStored(_matrix(found) if kernel else found, files.file.entries[name].dtype)

    def read(*which: Any) -> Array:
        from adapterops.arrays.floats import widened

        return widened(*stored(*which), Scratch())

    read_once = lru_cache(HELD)(read)

    def compute(module: str) -> Update:
        parts, scale = files.modules[module], files.scalings[module].scale
        if parts.experts == 1 or parts.rows:
            place = {role: (name, parts.rows.get(role), bool(parts.kernel)) for role, name in parts.tensors.items()}
            as_stored = parts.kind is KINDS["LoRA"]  # whose numbers are widened when they are asked for
            get: Any = stored if as_stored else read
            arrays = {role: get(*each) for role, each in place.items()}
        else:
            rank = files.scalings[module].rank
            rows = parts.expert * rank, (parts.expert + 1) * rank
            mine = read_once(parts.B)[:, parts.expert :: parts.experts].copy()
            arrays = {"lora_A": read(parts.A, rows), "lora_B": mine}
        if parts.transposed:
            arrays |= {"lora_A": arrays["lora_B"].T, "lora_B": arrays["lora_A"].T}
        return parts.kind.build(arrays, scale)

    return compute


def _matrix(array: Array) -> Array:
    """An array of a convolution as a matrix: all dimensions but the first are one."""
    return array if array.ndim < 3 else array.reshape(len(array), -1)


def _finite(tensor: Stored, allow: bool, rows: tuple[int, int] | None) -> Array:
    from adapterops.arrays.floats import all_stored_finite, finite

    values = tensor.file.array(tensor.name, rows)
    if not allow and not all_stored_finite(values, tensor.spec.dtype):
        fine = finite(values, tensor.spec.dtype)
        raise InputError(
            f"has numbers that are NaN or infinite: {fine.size - fine.sum()} of {fine.size}",
            path=tensor.file.path,
            tensor=tensor.name,
            hint="use another checkpoint of the training; merge and calc add them as they are with --allow-nonfinite",
            code="E-NONFINITE",
        )
    return values
