"""The files of an output, compared with what they should be: each that the manifest names, by its checksum, and none that it
does not.

Without a manifest there may be no other weights and no adapter. What config.json says is judged by a witness.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterOpsError
from adapterops.formats.adapter_files import CONFIG as ADAPTER_CONFIG
from adapterops.formats.models.weight_files import INDEX, PICKLE_INDEX
from adapterops.provenance import reader
from adapterops.provenance.manifest import described
from adapterops.quant.comfy import without
from adapterops.storage.outputs import MANIFEST, manifest_of


@dataclass(frozen=True)
class Problem:
    """Something in the output that is not as it should be: where, and what."""

    place: str
    what: str
    size: float = math.inf
    """How bad it is among others of its kind; files and names come first."""


def files_of(model: Checkpoint, base: Checkpoint) -> Iterator[tuple[str, Problem | None]]:
    """Files of the output, with what is wrong with them that can be seen without reading them whole."""
    place = _place(model)
    if model.files is None or place is None:
        return
    for name, file in model.files.shards.items():
        metadata = base.files.shards[name].metadata if base.files and name in base.files.shards else None
        metadata = metadata and without(metadata, frozenset(model.schemes))
        known = metadata is None or file.metadata == (metadata or {"format": "pt"})
        yield name, None if known else Problem(name, f"its metadata are {file.metadata}, expected {metadata}")
    shards = {*model.files.shards, INDEX, PICKLE_INDEX}
    content, folder = read_manifest(place), _folder(place)
    if content is None:
        yield "config.json", None
        yield from _strangers(folder, shards, "does not belong to this model", {".safetensors", ".bin"})
    elif isinstance(content, Problem):
        yield MANIFEST, content
    else:
        yield MANIFEST, None
        if place != folder:
            return  # a single file, next to those of others
        yield from _strangers(
            folder, {*shards, *content["outputs"], MANIFEST}, "is not of this output: the manifest does not name it"
        )


def sums(model: Checkpoint) -> dict[Path, Mapping[str, Any]]:
    """The files that the manifest names, with what it says of them."""
    place = _place(model)
    content = None if place is None else read_manifest(place)
    if place is None or not isinstance(content, dict):
        return {}
    return {_folder(place) / name: stated for name, stated in content["outputs"].items()}


def differs(path: Path, stated: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a file, by what the manifest says of it. Config, index and tokenizer have no other witness."""
    if not path.is_file():
        yield Problem(path.name, "is missing, and the manifest names it")
    elif (found := described(path)) != stated:
        fact = next(key for key in {**found, **stated} if found.get(key) != stated.get(key))
        yield Problem(path.name, f"its {fact} is {found.get(fact)}, and the manifest says {stated.get(fact)}")


def _place(model: Checkpoint) -> Path | None:
    """The folder of an output, or the file that is all of it."""
    path = model.files.path if model.files else None
    return path if path and (path.is_dir() or manifest_of(path).is_file()) else None


def _folder(place: Path) -> Path:
    return place.parent if place.is_file() else place


def read_manifest(folder: Path) -> dict[str, Any] | Problem | None:
    """The manifest of an output, or what is wrong with it; None where there is none."""
    try:
        return reader.read_manifest(folder)
    except AdapterOpsError as error:
        return Problem(MANIFEST, error.message)


def _strangers(
    folder: Path, known: Collection[str], what: str, suffixes: Collection[str] | None = None
) -> Iterator[tuple[str, Problem]]:
    """Files that a model's loader could take for its own, in the folders of known ones: weights, configs, an adapter that
    would be applied once more.
    """
    for inner in sorted({(folder / name).parent for name in known}):
        for path in sorted(inner.iterdir()) if inner.is_dir() else ():
            name = path.relative_to(folder).as_posix()
            known_or_none = path.name.startswith(".") or path.suffix == ".md" or not path.is_file() or name in known
            if not known_or_none and (suffixes is None or path.suffix in suffixes or path.name == ADAPTER_CONFIG):
                yield name, Problem(name, what)
