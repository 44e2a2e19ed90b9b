"""The files of a checkpoint: one safetensors file, or shards and their index;
config, tokenizer and the rest.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterops.errors import AdapterWarning, InputError, NotFoundError, at
from adapterops.formats.adapter_files import CONFIG as ADAPTER_CONFIG
from adapterops.storage.place import Place, check_inside
from adapterops.storage.safetensors import Entry, TensorFile
from adapterops.storage.staging import MANIFEST, RECIPE
from adapterops.storage.strict import read_json, similar

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
INDEX_LIMIT = 1 << 26
"""Bytes of the largest index that is read: it names every tensor of the model."""

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx", ".index.json")
NOT_TAKEN = {ADAPTER_CONFIG, MANIFEST, RECIPE, "README.md"}
"""What belongs to an adapter or to the input alone:
in the folder of a fused model, an adapter's config would be loaded a second time.
"""


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint of which the headers, the index and the config have been read and checked, and no tensor.

    `shards` are its files by their names, `config` is config.json where there is one, `others` are the files to take
    along.
    """

    path: Path
    shards: Mapping[str, TensorFile]
    config: Mapping[str, Any] | None
    others: tuple[Path, ...]

    def entries(self) -> dict[str, Entry]:
        """All tensors, in the order of the files."""
        return {name: entry for file in self.shards.values() for name, entry in file.entries.items()}


def holds_model(source: Path | Place) -> bool:
    """Whether a model is at `source`, and no adapter: a folder by its files, a file by the names of its tensors."""
    place = Place.of(source)
    path = place.path
    if place.folder:
        return not place.has(path / ADAPTER_CONFIG) and any(
            place.has(path / name) for name in (SINGLE, INDEX, PICKLE, PICKLE_INDEX)
        )
    if not (place.remote or path.is_file()) or place.has(path.with_name(ADAPTER_CONFIG)):
        return False
    return not any("lora_" in name or name.endswith(".alpha") for name in place.open(path).entries)


def read_model(source: Path | Place, allow_pickle: bool = False) -> ModelFiles:
    """The checkpoint at `source`: a folder, or a safetensors file.

    Args:
        allow_pickle: read pytorch_model.bin where there are no safetensors, with torch's restricted loader.

    Raises:
        NotFoundError: nothing is there.
        InputError: what is there is damaged, unsafe, incomplete, or contradicts itself.

    Warns:
        AdapterWarning: the index states a wrong total size.
    """
    place = Place.of(source)
    source = place.path
    if not place.exists:
        raise NotFoundError("does not exist", path=source, hint=similar(source))
    if not place.folder:
        if re.search(r"-of-0*(?:[2-9]|1\d)\d*\.safetensors$", source.name):
            raise InputError(
                "is one of the files of a checkpoint",
                path=source,
                hint=f"name the folder: {source.parent}",
                code="E-FOLDER",
            )
        return ModelFiles(source, {SINGLE: place.open(source)}, _config(place, source.parent), ())
    shards = _shards(place, allow_pickle)
    _check_distinct(shards)
    return ModelFiles(source, shards, _config(place, source), _others(place))


def _config(place: Place, folder: Path) -> Mapping[str, Any] | None:
    path = folder / "config.json"
    if not place.has(path):
        return None
    config = read_json(place.here(path))
    if not isinstance(config, dict):
        raise InputError(f"is a {type(config).__name__}, expected an object", path=path, code="E-CONFIG")
    return config


def _others(place: Place) -> tuple[Path, ...]:
    elsewhere = place.missing()
    found = [
        path
        for path in place.entries()
        if path in elsewhere or ((path.is_file() or path.is_symlink()) and not path.is_dir())
    ]
    found = [path for path in found if not path.name.startswith(".") and not path.name.endswith(WEIGHT_SUFFIXES)]
    found = [path for path in found if path.name not in NOT_TAKEN]
    for path in found:
        if not path.name.isprintable():
            raise InputError("has a name that is not text", path=path, hint="rename or remove it", code="E-NAME")
        if path in elsewhere:
            continue
        if not path.exists():
            raise NotFoundError("is a link to a file that does not exist", path=path, hint="mend or remove the link")
        check_inside(path)
    return tuple(found)


def _shards(place: Place, allow_pickle: bool) -> dict[str, TensorFile]:
    folder = place.path
    if place.has(folder / ADAPTER_CONFIG) and not any(
        place.has(folder / name) for name in (SINGLE, INDEX, PICKLE, PICKLE_INDEX)
    ):
        raise InputError(
            "is an adapter, where a model is expected",
            path=place,
            hint="name the folder of the model; fuse has it before the adapters, or as --base",
            code="E-FOLDER",
        )
    if place.has(folder / SINGLE):  # which transformers takes before an index
        return {SINGLE: place.open(folder / SINGLE)}
    if place.has(folder / INDEX):
        return _indexed(place, folder / INDEX, place.open)
    files = [path for path in place.entries() if path.suffix == ".safetensors"]
    if len(files) == 1:
        return {SINGLE: place.open(files[0])}
    if any(place.has(folder / name) for name in (PICKLE, PICKLE_INDEX)):
        return _pickles(place, allow_pickle)
    there = [path.name for path in place.entries()]
    raise InputError(
        f"has no {SINGLE} and no {INDEX}; it has {', '.join(there[:8]) or 'nothing'}"
        + (" ..." if len(there) > 8 else ""),
        path=place,
        hint="the index of the shards is missing: download it too"
        if files
        else "name a folder that a model was saved to",
        code="E-FOLDER",
    )


def _indexed(place: Place, index: Path, opened: Callable[[Path], TensorFile]) -> dict[str, TensorFile]:
    content = read_json(place.here(index), INDEX_LIMIT)
    with at(path=index):
        where = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
            raise InputError("has no weight_map from tensors to files", code="E-INDEX")
        files = {name: opened(_inside(place, index, name)) for name in sorted(set(where.values()))}
        for tensor, name in where.items():
            if tensor not in files[name].entries:
                raise InputError(
                    f"says that it is in {name}, where it is not",
                    tensor=tensor,
                    hint="download both again",
                    code="E-INDEX",
                )
        for name, file in files.items():
            for tensor in file.entries:
                if where.get(tensor) != name:
                    raise InputError(
                        f"is in {name}, of which the index says nothing",
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
    return files


def _inside(place: Place, index: Path, name: str) -> Path:
    """The path of a shard, which an index may not lead out of its folder;
    the cache of the Hub keeps links to its own blobs.
    """
    suffix = index.name.split(".")[1]
    if not re.fullmatch(rf"[^/\\:\0]+\.{suffix}", name) or name.startswith(".") or not name.isprintable():
        raise InputError(f"names the file {name[:80]!r}, which is not the name of a .{suffix} file", code="E-INDEX")
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
                    hint="remove the file that is left over",
                    code="E-INDEX",
                )
            owner[tensor] = name


def _pickles(place: Place, allow_pickle: bool) -> dict[str, TensorFile]:
    if not allow_pickle:
        raise InputError(
            "has only Python pickles, which can run code when they are loaded, and are not read",
            path=place,
            hint="--allow-pickle takes their tensors and nothing else, by torch's restricted loader; or save the model as safetensors",
            code="E-PICKLE",
        )
    from adapterops.storage.pickles import PickleFile

    def opened(path: Path) -> PickleFile:
        return PickleFile(place.here(path))

    index = place.path / PICKLE_INDEX
    found = _indexed(place, index, opened) if place.has(index) else {PICKLE: opened(place.path / PICKLE)}
    return {
        re.sub(r"^pytorch_model", "model", name).removesuffix(".bin") + ".safetensors": file
        for name, file in found.items()
    }
