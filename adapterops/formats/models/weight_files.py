"""The files of tensors in one folder of a model: one file, or shards and their index."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from adapterops.errors import AdapterWarning, InputError, at
from adapterops.regex import Regex
from adapterops.storage.place import Place, check_inside
from adapterops.storage.tensors import TensorFile

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DIFFUSERS = "diffusion_pytorch_model.safetensors"
"""What diffusers calls the file of a model that is no transformers model."""

PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
STANDARD = (SINGLE, INDEX, DIFFUSERS, f"{DIFFUSERS}.index.json")
"""In the order in which they are looked for: who loads a folder takes a single file before an index."""

SHARD = Regex(r"-of-0*(?:[2-9]|1\d)\d*\.safetensors$")
"""How the name of a file ends that is one of several."""

INDEX_LIMIT = 1 << 26
"""Bytes of the largest index that is read: it names every tensor of the model."""


def weight_files(place: Place) -> dict[str, TensorFile]:
    """The safetensors files of a folder that belong to one model, by their names; none where that cannot be said.

    Raises:
        InputError: one is damaged, or its index contradicts it.

    Warns:
        AdapterWarning: the index states a wrong total size; or there is a single file, too.
    """
    names = [name for name in STANDARD if place.has(place.path / name)]
    there = {path.name for path in place.entries()}
    for end in (r"\.safetensors\.index\..+\.json", r"\.safetensors"):  # of a variant, such as fp16
        found = [name for name in there if re.fullmatch(rf".+{end}", name)]
        names += found if len(found) == 1 and not SHARD.search(found[0]) else []
    if not names:
        return {}
    if SINGLE in names and INDEX in names:
        warnings.warn(
            f"{place.path}: has {SINGLE} and {INDEX}; {SINGLE} is read, as transformers does, and the files of the index are not",
            AdapterWarning,
            stacklevel=2,
        )
    if names[0].endswith(".json"):
        return indexed(place, place.path / names[0], place.open)
    return {names[0]: place.open(place.path / names[0])}


def shard_names(count: int) -> list[str]:
    """What so many files of a model are called.

    >>> shard_names(1), shard_names(2)[0]
    (['model.safetensors'], 'model-00001-of-00002.safetensors')
    """
    if count == 1:
        return [SINGLE]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def is_part(name: str) -> bool:
    """Whether a file is called as one of several, so that loaders look for an index of them, even if it holds all there is.

    >>> is_part("model-00001-of-00002.safetensors"), is_part("model.safetensors")
    (True, False)
    """
    return re.search(r"-\d+-of-\d+\.safetensors$", name) is not None


def index_name(shards: Iterable[str]) -> str:
    """What the index of such shards is called.

    >>> index_name(["model-00001-of-00002.safetensors"]), index_name(["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"])
    ('model.safetensors.index.json', 'diffusion_pytorch_model.safetensors.index.fp16.json')
    """
    stem, _, variant = re.sub(r"-\d+-of-\d+\.safetensors$", "", next(iter(shards))).partition(".")
    name = f"{stem}.safetensors"
    if name not in STANDARD:
        return INDEX
    return f"{name}.index.{variant}.json" if variant else f"{name}.index.json"


def indexed(place: Place, index: Path, opened: Callable[[Path], TensorFile]) -> dict[str, TensorFile]:
    """The files that an index names.

    Raises:
        InputError: it is none, or a tensor is not where it says.
    """
    content = place.json(index, INDEX_LIMIT)
    with at(path=index):
        where = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
            raise InputError("has no weight_map from tensors to files", hint="download the index again", code="E-INDEX")
        files = {name: opened(_inside(place, index, name)) for name in sorted(set(where.values()))}
        for tensor, name in where.items():
            if tensor not in files[name].entries:
                raise InputError(
                    f"says that it is in {name}, where it is not",
                    tensor=tensor,
                    hint="download both again",
                    code="E-INDEX",
                )
        for name, file in files.items():  # what the index does not name is read all the same, as transformers does
            for tensor in file.entries:
                if where.get(tensor, name) != name:
                    raise InputError(
                        f"is in {name}, and the index says that it is in {where[tensor]}",
                        tensor=tensor,
                        hint="download both again",
                        code="E-INDEX",
                    )
        stated = (
            content.get("metadata", {}).get("total_size") if isinstance(content.get("metadata", {}), dict) else None
        )
        total = sum(entry.spec.bytes for file in files.values() for entry in file.entries.values())
        if stated is not None and stated != total:
            warnings.warn(
                f"{index}: total_size is {stated}, the tensors take {total} bytes", AdapterWarning, stacklevel=2
            )
    _check_distinct(files)
    return files


def _inside(place: Place, index: Path, name: str) -> Path:
    """The path of a shard, which an index may not lead out of its folder;
    the cache of the Hub keeps links to its own blobs.
    """
    suffix = index.name.split(".")[1]
    if not re.fullmatch(rf"[^/\\:\0]+\.{suffix}", name) or name.startswith(".") or not name.isprintable():
        raise InputError(
            f"names the file {name[:80]!r}, which is not the name of a .{suffix} file",
            hint="download the index again",
            code="E-INDEX",
        )
    path = index.parent / name
    if place.missing([path]):
        return path
    if not path.exists():
        raise InputError(f"names {name}, which is missing", path=index, hint="download that file too", code="E-INDEX")
    check_inside(path)
    return path


def _check_distinct(shards: Mapping[str, TensorFile]) -> None:
    owner: dict[str, str] = {}
    for name, file in shards.items():
        for tensor in file.entries:
            if tensor in owner:
                raise InputError(
                    f"is in {owner[tensor]} and in {name}",
                    tensor=tensor,
                    hint="one of them is left over",
                    code="E-INDEX",
                )
            owner[tensor] = name
