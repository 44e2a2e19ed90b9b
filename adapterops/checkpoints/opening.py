"""A checkpoint in files, opened: headers are read and checked, and tensors when asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import InputError, at
from adapterops.formats.model_files import read_model
from adapterops.formats.quantized import quantized
from adapterops.provenance.history import Source
from adapterops.storage.place import Place
from adapterops.storage.safetensors import Spec, Stored

UNMERGED = re.compile(r"\.(?:base_layer|lora_(?:A|B|embedding_A|embedding_B|magnitude_vector))\.")
"""Inside names of tensors of a model that was saved with PEFT's layers still in it."""


def open_checkpoint(source: str | os.PathLike[str], *, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint in a folder or a safetensors file. Reads and checks the headers; tensors are read when asked for.

    Quantized weights are found by the schemes of the registry, and are one tensor each, whatever their parts.

    Raises:
        NotFoundError, InputError: as `read_model` does.
        InputError, UnsupportedError: as `quantized` does.
        InputError: it was saved with an adapter in it that is not merged.
    """
    place = Place.of(source)
    files = read_model(place, allow_pickle)
    entries = {name: entry.spec for name, entry in files.entries().items()}
    where = {name: file for file in files.shards.values() for name in file.entries}
    with at(path=files.path):
        _check_merged(entries)
        weights, others = quantized(entries, files.config, lambda name: bytes(where[name].read(name)))
    stored = {name: StoredTensor({"": Stored(where[name], name)}, entries[name].shape) for name in others}
    for name, weight in weights.items():
        parts = {role: Stored(where[part], part) for role, part in weight.keys.items()}
        stored[name] = StoredTensor(parts, weight.shape, weight.scheme)
    main = {next(iter(each.parts.values())).name: name for name, each in stored.items()}
    shards = {
        shard: [
            main[entry] for entry in sorted(file.entries, key=lambda name: file.entries[name].begin) if entry in main
        ]
        for shard, file in files.shards.items()
    }
    order = [name for names in shards.values() for name in names]
    return Checkpoint(
        layout={name: Spec(stored[name].dtype, stored[name].shape) for name in order},
        shards={shard: names for shard, names in shards.items() if names},
        stored=stored,
        schemes={name: each.scheme for name, each in stored.items() if each.scheme},
        config=files.config,
        history=Source(files.path, tuple(files.shards.values()), files.others, remote=place.remote),
        files=files,
    )


def _check_merged(names: Iterable[str]) -> None:
    """Raise InputError for LoRA in a model: its factors are no weights, and its weights lack the update."""
    found = sorted(name for name in names if UNMERGED.search(name))
    if found:
        raise InputError(
            f"belongs to LoRA in the model that is not merged: its layers store {len(found)} such tensors",
            tensor=found[0],
            hint="load it with PEFT and save the adapter with save_pretrained, or save what merge_and_unload returns",
            code="E-UNMERGED",
        )
