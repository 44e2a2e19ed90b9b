"""A checkpoint in files, opened: headers are read and checked, and tensors when asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import AdapterWarning, InputError, at, count
from adapterops.formats.models.model_files import ModelFiles, read_model
from adapterops.formats.models.naming import classes
from adapterops.formats.models.quantized import quantized
from adapterops.formats.models.unmerged import holds_base, is_adapters
from adapterops.formats.models.wrappers import without_wrappers
from adapterops.provenance.history import Source
from adapterops.storage.place import Place
from adapterops.storage.tensors import Spec, Stored


def open_checkpoint(source: str | os.PathLike[str], *, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint in a folder or a safetensors file. Reads and checks the headers; tensors are read when asked for.

    Quantized weights are found by the schemes of the registry, and are one tensor each, whatever their parts.

    Raises:
        NotFoundError, InputError: as `read_model` does.
        InputError, UnsupportedError: as `quantized` does.
        InputError: it was saved with an adapter in it that is not merged.

    Warns:
        AdapterWarning: what training puts around a model is in the names of its tensors, which are read without it.
    """
    place = replace(Place.of(source), seen={})
    files = read_model(place, allow_pickle)
    tensors: Mapping[str, Stored] = files.tensors()
    with at(path=files.path):
        _check_merged(tensors, files.path)
        tensors = _in_model(tensors, files)
    found = checkpoint_of(files, tensors, place)
    if not files.components:
        return found
    folders = {name: shard.partition("/")[0] for shard, names in found.shards.items() for name in names}
    return replace(found, names={name: name.removeprefix(f"{folder}.") for name, folder in folders.items()})


def checkpoint_of(files: ModelFiles, tensors: Mapping[str, Stored], place: Place) -> Checkpoint:
    """The checkpoint of these tensors, by the names that it has for them; each stays in the file that it is in.

    Raises:
        InputError, UnsupportedError: as `quantized` does.
    """
    entries = {name: stored.spec for name, stored in tensors.items()}
    with at(path=files.path):
        if files.weights is None:
            headers = {key: text for file in files.shards.values() for key, text in (file.metadata or {}).items()}
            weights, others = quantized(entries, files.config, lambda name: bytes(_read(tensors[name])), headers)
        else:
            weights, others = files.weights, [name for name in entries if name not in files.weights]
    stored = {name: StoredTensor({"": tensors[name]}, entries[name].shape) for name in others}
    for name, weight in weights.items():
        parts = {role: tensors[part] for role, part in weight.keys.items()}
        stored[name] = StoredTensor(parts, weight.shape, weight.scheme)
    main = {_first(each): name for name, each in stored.items()}
    shards = {
        shard: [
            main[first]
            for entry in sorted(file.entries, key=lambda name: file.entries[name].begin)
            if (first := Stored(file, entry)) in main
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
        history=Source(files.path, tuple(files.shards.values()), files.others, remote=place.remote, seen=place.seen),
        files=files,
    )


def _in_model(tensors: Mapping[str, Stored], files: ModelFiles) -> Mapping[str, Stored]:
    """The tensors by the names of the model itself, where training left what was around it in them.

    Warns:
        AdapterWarning: it did.
    """
    if files.weights is not None:
        return tensors
    config = files.config or {}
    found = without_wrappers(tensors, own_class="auto_map" in config or not classes(config))
    changed = [(name, there) for name, there in found.items() if name != there]
    if not changed:
        return tensors
    name, there = changed[0]
    warnings.warn(
        f"{files.path}: {count(len(changed), 'tensor')} named as training wraps models, such as {there}, which transformers "
        f"does not load: read as {name}, and written as that",
        AdapterWarning,
        stacklevel=3,
    )
    return {name: tensors[there] for name, there in found.items()}


def _read(stored: Stored) -> bytearray:
    return stored.file.read(stored.name)


def _first(stored: StoredTensor) -> Stored:
    return next(iter(stored.parts.values()))


def _check_merged(names: Mapping[str, Stored], path: Path) -> None:
    """Raise InputError for LoRA in a model: its factors are no weights, and its weights lack the update."""
    found = sorted(filter(is_adapters, names))
    if not found:
        return
    if len(found) == len(names) and not holds_base(names):
        raise InputError(
            "is an adapter, where a model is needed", hint="name the folder of the model", code="E-ADAPTER"
        )
    raise InputError(
        f"belongs to LoRA that is not merged into the model yet: its layers store {len(found)} such tensors",
        tensor=found[0],
        hint=f"adapterops split {quote(str(path))} -o OUT writes its base and its adapter; "
        "or load it with PEFT, and save the adapter with save_pretrained, or what merge_and_unload returns",
        code="E-UNMERGED",
    )
