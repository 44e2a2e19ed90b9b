"""The files of an adapter of PEFT: a folder, one of its sub-folders, or a lone safetensors file. Headers only."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from shlex import quote
from typing import Any

from adapterops.errors import InputError, at, listed
from adapterops.formats.adapter_files import CONFIG, WEIGHTS, AdapterFiles
from adapterops.formats.further import further_weights, of_training
from adapterops.formats.kinds import are_of_adapter
from adapterops.formats.models.tokenizers import tokenizer_files
from adapterops.formats.models.unmerged import holds_base
from adapterops.formats.others import check_no_other
from adapterops.formats.peft.contents import contents
from adapterops.formats.peft.header import EMBEDDED, packed
from adapterops.regex import Regex
from adapterops.storage.fp8 import in_floats
from adapterops.storage.place import Place
from adapterops.storage.strict import missing
from adapterops.storage.tensors import TensorHeader

OF_MODELS = Regex(
    r"(model|pytorch_model|diffusion_pytorch_model)(\.\w+)?(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?"
)
"""The names of files that hold models."""

MODEL_FIRST = (
    "name the folder of an adapter; a model comes first for fuse, and after --base elsewhere; "
    "fuse BASE --tuned MODEL merges whole models"
)


def read_files(source: Path | Place, alpha: float | None = None) -> AdapterFiles:
    """The adapter at `source`.

    Args:
        source: a folder with adapter_model.safetensors and adapter_config.json, or with one sub-folder that has them;
            or a safetensors file with a config next to it or in its header, or with a scale (`alpha`) for each module.
        alpha: for a file that says nothing of its scale.

    Raises:
        NotFoundError: nothing is there.
        InputError: what is there is damaged, contradicts itself, or lacks something.
        UnsupportedError: it is an adapter of a kind that is not handled.
    """
    place = Place.of(source)
    weights = _weights(place)
    file = in_floats(place.open(weights))
    config_path = place.here(weights.with_name(CONFIG))
    with at(path=weights):
        fields = _fields(place, file, config_path)
    if holds_base(file.entries):
        raise InputError(
            "is a model with an adapter in it that is not merged",
            path=weights,
            hint=f"adapterops split {quote(str(weights))} -o OUT writes its base and its adapter",
            code="E-UNMERGED",
        )
    if fields is None and file.entries and not are_of_adapter(file.entries):
        with at(path=weights):
            check_no_other(file.entries)
        raise InputError(
            f"is a model, where an adapter is expected: all tensors have names of weights, such as {min(file.entries)}",
            path=weights,
            hint=MODEL_FIRST,
            code="E-MODEL",
        )
    found = contents(file, fields, config_path, alpha)
    paths = (weights, config_path) if config_path.exists() else (weights,)
    return AdapterFiles(file, paths, *found, further_weights(place, weights), tokenizer_files(place, weights))


def has_config(place: Place, weights: Path) -> bool:
    """Whether a file of tensors has a config of PEFT, next to it or in its header."""
    return place.has(weights.with_name(CONFIG)) or EMBEDDED in place.open(weights).metadata


def _weights(place: Place) -> Path:
    source = place.path
    if not place.folder:
        if not place.exists and not source.is_symlink():
            raise missing(source)
        return source
    if place.has(source / WEIGHTS):
        return source / WEIGHTS
    inner = [folder for folder in place.entries() if place.has(folder / WEIGHTS)]
    if len(inner) == 1:
        return inner[0] / WEIGHTS
    if inner:
        names = ", ".join(folder.name for folder in inner)
        raise InputError(
            f"holds several adapters: {names}",
            path=place,
            hint=f"name one, such as {place.inner(inner[0])}",
            code="E-FOLDER",
        )
    for name in ("adapter_model.bin", "adapter_model.pt"):
        if place.has(source / name):
            return source / name
    there = [path.name for path in place.entries()]
    if any(map(OF_MODELS.fullmatch, there)) and CONFIG not in there:
        raise InputError(
            f"is a model, where an adapter is expected: it has no {WEIGHTS}",
            path=place,
            hint=MODEL_FIRST,
            code="E-MODEL",
        )
    files = [path for path in place.entries() if path.suffix in (".safetensors", ".gguf")]
    raise InputError(
        f"has no {WEIGHTS}; it has {listed(there, 8) or 'nothing'}",
        path=place,
        hint=f"name the file itself, such as {place.inner(files[0])}" if files else _further_in(place, there),
        code="E-FOLDER",
    )


def _further_in(place: Place, there: Collection[str]) -> str:
    """Where an adapter is, of a folder that has none itself and none in its folders."""
    if CONFIG in there:
        return f"its weights are missing: download {WEIGHTS}, too, or save the adapter again"
    if parts := of_training(there):
        return parts
    deeper = None if place.remote else next(place.path.glob(f"*/*/{WEIGHTS}"), None)
    return f"name one, such as {deeper.parent}" if deeper else "name the folder or the file of an adapter"


def _fields(place: Place, file: TensorHeader, config_path: Path) -> Any:
    """The config next to the file, or the one in its header; None if it has neither."""
    if config_path.exists() or config_path.is_symlink():
        fields = place.json(config_path)
        if fields is None:
            raise InputError(
                "is null, expected an object",
                hint="give the adapter_config.json that was saved with the adapter",
                path=config_path,
                code="E-CONFIG",
            )
        return fields
    return packed(file.metadata)
