"""The files of a checkpoint: one safetensors file, or shards and their index;
config, tokenizer and the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapterops.errors import InputError, NotFoundError
from adapterops.formats.adapter_files import CONFIG as ADAPTER_CONFIG
from adapterops.formats.adapter_files import WEIGHTS as ADAPTER_WEIGHTS
from adapterops.formats.further import SAME, of_training
from adapterops.formats.gguf_parts import opened
from adapterops.formats.kinds import all_of_adapter, are_of_adapter
from adapterops.formats.models.gguf_models import gguf_files, read_gguf_model
from adapterops.formats.models.left_behind import left_behind
from adapterops.formats.models.quantized import Weight
from adapterops.formats.models.unmerged import holds_base
from adapterops.formats.models.weight_files import (
    INDEX,
    PICKLE,
    PICKLE_INDEX,
    SHARD,
    SINGLE,
    STANDARD,
    indexed,
    weight_files,
)
from adapterops.regex import Regex
from adapterops.storage.gguf import SUFFIX
from adapterops.storage.outputs import MANIFEST, RECIPE, plain_name
from adapterops.storage.place import COLLECTION, Place, check_inside
from adapterops.storage.shapes import fits
from adapterops.storage.strict import CORRECT, missing
from adapterops.storage.tensors import Stored, TensorFile

PIPELINE = "model_index.json"
"""What a pipeline of diffusers has: its components and their classes, by the names of their folders."""

MODULES, TEMPLATES = "modules.json", "additional_chat_templates"
"""What sentence-transformers loads a model by: the folders of what comes after the language model, such as a layer with
weights of its own. And where transformers has a tokenizer's further templates.
"""

MODEL_FILES = (*STANDARD, PICKLE, PICKLE_INDEX)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx")
AN_INDEX = Regex(r".+\.index(\..+)?\.json")
"""The name of an index of shards, of a variant such as fp16 too."""

ADAPTERS = (ADAPTER_WEIGHTS, *SAME)
"""Files of tensors that an adapter's folder has."""

NOT_TAKEN = {ADAPTER_CONFIG, MANIFEST, RECIPE, "README.md"}
"""What belongs to an adapter or to the input alone:
in the folder of a fused model, an adapter's config would be loaded a second time.
"""


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint of which the headers, the index and the config have been read and checked, and no tensor.

    Attributes:
        shards: its files by their names; those of a pipeline with the folder of the component before it.
        config: config.json, where there is one.
        others: the files to take along.
        components: of a pipeline the component in each folder that has tensors → its class.
        weights: its quantized weights, where the format says them; None where its tensors have to show it.
        left: files of weights in its folder that are no part of it.
    """

    path: Path
    shards: Mapping[str, TensorFile]
    config: Mapping[str, Any] | None
    others: tuple[Path, ...]
    components: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Weight] | None = None
    left: tuple[str, ...] = ()

    def tensors(self) -> dict[str, Stored]:
        """All tensors, in the order of the files. Those of a pipeline have the component before their names."""
        return {
            f"{shard.rpartition('/')[0]}.{name}".removeprefix("."): Stored(file, name)
            for shard, file in self.shards.items()
            for name in file.entries
        }


def holds_model(source: Path | Place) -> bool:
    """Whether a model is at `source`, and no adapter: a folder by its files, a file by the names of its tensors."""
    place = Place.of(source)
    path = place.path
    if place.member or path.name == COLLECTION:
        return False
    if place.folder:
        known = any(place.has(path / name) for name in (*MODEL_FILES, PIPELINE))
        return not any(place.has(path / name) for name in ADAPTERS) and (known or bool(gguf_files(place)))
    if not (place.remote or path.is_file()) or any(place.has(path.with_name(name)) for name in ADAPTERS):
        return False
    if path.suffix == SUFFIX:
        return opened(place, gguf_files(place)[0]).fields.get("general.type") != "adapter"
    names = place.open(path).entries
    return holds_base(names) or not are_of_adapter(names)


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
        raise missing(source)
    if place.member or (place.has(source / COLLECTION) if place.folder else source.name == COLLECTION):
        raise _adapter(place, "a collection of adapters")
    if not place.folder:
        if SHARD.search(source.name):
            raise InputError(
                "is one of the files of a checkpoint",
                path=source,
                hint=f"name the folder: {source.parent}",
                code="E-FOLDER",
            )
        if source.suffix == SUFFIX:
            return _gguf(place, gguf_files(place))
        file = place.open(source)
        if are_of_adapter(file.entries) and not holds_base(file.entries):
            raise _adapter(place)
        return ModelFiles(source, {SINGLE: file}, read_config(place, source.parent), ())
    if place.has(source / PIPELINE):
        return _pipeline(place)
    if not any(place.has(source / name) for name in (*MODEL_FILES, ADAPTER_CONFIG)) and (paths := gguf_files(place)):
        return _gguf(place, paths)
    shards, others = _shards(place, allow_pickle), (*_inner(place), *_others(place))
    left = left_behind(place, [*others, *(file.path for file in shards.values())])
    return ModelFiles(source, shards, read_config(place, source), others, left=left)


def _gguf(place: Place, paths: list[Path]) -> ModelFiles:
    shards, config, weights = read_gguf_model(place, paths)
    return ModelFiles(place.path, shards, config, (), weights=weights)


def read_config(place: Place, folder: Path) -> Mapping[str, Any] | None:
    """config.json in the folder of a model; None where there is none.

    Raises:
        InputError: it is not JSON, not an object, or what it has for its classes is no list of names.
    """
    path = folder / "config.json"
    if not place.has(path):
        return None
    config = place.json(path)
    if not isinstance(config, dict):
        fact = f"is a {type(config).__name__}, expected an object"
        raise InputError(fact, path=path, hint=CORRECT, code="E-CONFIG")
    if not fits(classes := config.get("architectures"), ([str], type(None))):
        fact = f"architectures is {json.dumps(classes)[:60]}, expected a list of names or null"
        raise InputError(fact, path=path, hint=CORRECT, code="E-CONFIG")
    return config


def _pipeline(place: Place) -> ModelFiles:
    """A pipeline of diffusers: each component is a model in a folder of its own. What has no safetensors is copied."""
    index = place.path / PIPELINE
    stated = place.json(index)
    if not isinstance(stated, dict):
        fact = f"is a {type(stated).__name__}, expected an object"
        raise InputError(fact, path=index, hint=CORRECT, code="E-CONFIG")
    shards: dict[str, TensorFile] = {}
    others, components = [*_others(place)], {}
    for folder in (replace(place, path=path) for path in place.entries() if path.name in stated):
        name = folder.path.name
        if not folder.folder or not plain_name(name):
            continue
        files = weight_files(folder)
        kind = stated[name]
        if files:
            components[name] = str(kind[-1]) if isinstance(kind, list) and kind else "unknown"
        shards |= {f"{name}/{file}": opened for file, opened in files.items()}
        others += _others(folder, weights=not files)
    if not shards:
        raise InputError("has no component with safetensors", path=place, hint="download them too", code="E-FOLDER")
    return ModelFiles(place.path, shards, None, tuple(others), components)


def _inner(place: Place) -> list[Path]:
    """The files in folders that belong to a model: whole, as nothing in them is adapted."""
    listed = place.path / MODULES
    stated = place.json(listed) if place.has(listed) else []
    parts = [each.get("path") for each in stated] if fits(stated, [dict]) else []
    names = [name for name in (*parts, TEMPLATES) if isinstance(name, str) and plain_name(name)]
    folders = [replace(place, path=place.path / name) for name in dict.fromkeys(names)]
    return [path for folder in folders if folder.exists and folder.folder for path in _others(folder, weights=True)]


def _others(place: Place, weights: bool = False) -> tuple[Path, ...]:
    """The files of a folder that are to be taken along; of those with weights none but on request."""
    elsewhere = place.missing()
    found = [
        path
        for path in place.entries()
        if path in elsewhere or path.is_file() or (path.is_symlink() and not path.is_dir())
    ]
    found = [path for path in found if not path.name.startswith(".") and path.name not in NOT_TAKEN]
    if not weights:
        found = [
            each for each in found if not each.name.endswith(WEIGHT_SUFFIXES) and not AN_INDEX.fullmatch(each.name)
        ]
    for path in found:
        if not path.name.isprintable():
            raise InputError("has a name that is not text", path=path, hint="rename or remove it", code="E-NAME")
        if path in elsewhere or not path.is_symlink():
            continue
        if not path.exists():
            raise NotFoundError("is a link to a file that does not exist", path=path, hint="fix or remove the link")
        check_inside(path)
    return tuple(found)


NAME_A_MODEL = "name the folder of the model; fuse has it before the adapters, or as --base"


def _adapter(place: Place, what: str = "an adapter", hint: str = NAME_A_MODEL) -> InputError:
    return InputError(f"is {what}, where a model is expected", path=place, hint=hint, code="E-ADAPTER")


def _shards(place: Place, allow_pickle: bool) -> dict[str, TensorFile]:
    folder = place.path
    if place.has(folder / ADAPTER_CONFIG) and not any(place.has(folder / name) for name in MODEL_FILES):
        raise _adapter(place)
    if found := weight_files(place):
        if all_of_adapter([name for file in found.values() for name in file.entries]):
            lone = place.has(folder / ADAPTER_CONFIG) and [*found] == [SINGLE]
            hint = f"{SINGLE} has the tensors of LoRA: call it {ADAPTER_WEIGHTS}, as PEFT does"
            raise _adapter(place, hint=hint if lone else NAME_A_MODEL)
        return {name if len(found) > 1 or name in STANDARD else SINGLE: file for name, file in found.items()}
    if any(place.has(folder / name) for name in (PICKLE, PICKLE_INDEX)):
        return _pickles(place, allow_pickle)
    there = [path.name for path in place.entries()]
    raise InputError(
        f"has no {SINGLE} and no {INDEX}; it has {', '.join(there[:8]) or 'nothing'}"
        + (" ..." if len(there) > 8 else ""),
        path=place,
        hint=_hint(place, there),
        code="E-FOLDER",
    )


def _hint(place: Place, there: Collection[str]) -> str:
    """What to do about a folder with these files, in which no model was found: a repository in the Hub's cache has it in a
    folder of `snapshots`.
    """
    if parts := of_training(there):
        return parts
    if any(SHARD.search(name) for name in there):
        return "the index of the shards is missing: download it too"
    if files := sorted(name for name in there if name.endswith(".safetensors")):
        return f"name the file of the model itself, such as {files[0]}"
    if any(name.endswith(SUFFIX) for name in there):
        return "it has several models: name the file of one"
    patterns = [] if place.remote else [f"{depth}/{name}" for depth in ("*", "*/*") for name in (SINGLE, INDEX)]
    inner = [each for pattern in patterns for each in place.path.glob(pattern)]
    if inner:
        return f"name the folder of the model, such as {min(inner).parent}"
    return "name a folder that a model was saved to"


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
    found = indexed(place, index, opened) if place.has(index) else {PICKLE: opened(place.path / PICKLE)}
    return {
        re.sub(r"^pytorch_model", "model", name).removesuffix(".bin") + ".safetensors": file
        for name, file in found.items()
    }
