"""The files of an adapter: a folder, one of its sub-folders, or a lone safetensors file. Headers only."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import InputError, NotFoundError, UnsupportedError, at
from adapterops.formats.experts import by_expert, parameters
from adapterops.formats.further import further_weights
from adapterops.formats.peft.config import AdapterConfig, Scaling, check_alpha, read_config, scalings, token_indices
from adapterops.formats.peft.keys import Parts, full_tensors, parts, token_rows
from adapterops.formats.tokenizers import tokenizer_files
from adapterops.formats.vocabulary import is_end
from adapterops.storage.place import Place
from adapterops.storage.safetensors import TensorFile, no_numbers
from adapterops.storage.strict import parse_json, read_json
from adapterops.updates.kinds import KINDS
from adapterops.updates.layout import Layout, widest

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CLASSIFIERS = {"classifier", "score"}
"""Names that PEFT always lists for sequence classification, whichever of them the model has."""

OTHERS = "the config belongs to another adapter, or was edited"

EMBEDDED = "lora_adapter_metadata"
"""The header entry in which a lone file may carry its config."""


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter of which the headers and the config have been read and checked, and no tensor.

    `paths` are the files it consists of, `full` are full tensors of the model by their names there. `alpha` is the
    one that was given, if it was needed. `further` are other files of weights in its folder, which are not read, and
    `tokenizer` are those of the tokenizer that it was trained with.
    """

    file: TensorFile
    paths: tuple[Path, ...]
    config: AdapterConfig
    modules: Mapping[str, Parts]
    scalings: Mapping[str, Scaling]
    full: Mapping[str, str]
    alpha: float | None = None
    further: tuple[Path, ...] = ()
    tokenizer: tuple[Path, ...] = ()

    def layout(self, module: str) -> Layout:
        parts = self.modules[module]
        dtype = widest([self.file.entries[name].dtype for name in parts.tensors.values()])
        return Layout(parts.shape, parts.bound, dtype, kind=parts.kind.name, needs_base=parts.kind.needs_base)

    def parameters(self, module: str) -> int:
        """Numbers that are stored for a module."""
        parts = self.modules[module]
        return sum(math.prod(self.file.entries[name].shape) for name in parts.tensors.values()) // parts.experts


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
    file = place.open(weights)
    config_path = place.here(weights.with_name(CONFIG))
    with at(path=weights):
        fields = _fields(file, config_path)
    with at(path=config_path if config_path.exists() else weights):
        config = read_config(fields) if fields is not None else AdapterConfig()
    full, repeated = full_tensors(file, config)
    _check_saved(config, full, config_path if config_path.exists() else weights)
    unannounced = tuple(tensor for tensor in full if not config.replaces(tensor))
    rows = token_rows(file)
    raw = parts(file, {*full.values(), *repeated, *rows.values()})
    with at(path=config_path if config_path.exists() else weights):
        tokens = token_indices(fields, rows)
        _check_rows(file, rows, tokens)
    with at(path=weights):
        found = parameters(raw, config.target_parameters or ())
        for pair in found.values():
            for name in pair.tensors.values():
                if file.entries[name].dtype not in FLOATS:
                    raise no_numbers(file.entries[name].dtype, weights, name)
        with at(path=config_path):
            _check_kinds(raw, fields)
            _check_not_tied(raw, fields)
        known = _scalings(file, found, fields, alpha, config_path, found.keys() - raw.keys())
        split, of_each, experts = by_expert(found, known, raw.keys())
    paths = (weights, config_path) if config_path.exists() else (weights,)
    embeddings = frozenset(module for module, each in split.items() if each.kind.embedding)
    needed = fields is None and not any(pair.alpha for pair in found.values())
    return AdapterFiles(
        file,
        paths,
        replace(config, experts=experts, unannounced=unannounced, embeddings=embeddings, tokens=tokens),
        split,
        of_each,
        full | rows,
        alpha if needed else None,
        further_weights(place, weights),
        tokenizer_files(place, weights),
    )


def _check_saved(config: AdapterConfig, full: Mapping[str, str], path: Path) -> None:
    for name in set(config.saved) - CLASSIFIERS:
        if not any(replace(config, saved=(name,), biases=False).replaces(tensor) for tensor in full):
            raise InputError(
                f"modules_to_save names {name!r}, of which the tensors have nothing",
                path=path,
                hint="save it again",
                code="E-KEY",
            )


def _check_not_tied(found: Mapping[str, Parts], fields: Any) -> None:
    """Where PEFT is to keep two ends tied, it has one update for both, under two names. Of full tensors the file shows
    whether it did.
    """
    for module in found if fields and fields.get("ensure_weight_tying") else ():
        if is_end(f"{module}.weight"):
            raise UnsupportedError(
                "ensure_weight_tying is set, and LoRA on tied weights is not handled",
                tensor=module,
                hint="merge it with PEFT, or train without it",
            )


def _check_rows(file: TensorFile, names: Mapping[str, str], tokens: Mapping[str, Collection[int]]) -> None:
    for tensor, name in names.items():
        shape = file.entries[name].shape
        if len(shape) != 2 or shape[0] != len(tokens[tensor]):
            raise InputError(
                f"has the shape {list(shape)}, and trainable_token_indices names {len(tokens[tensor])} rows",
                tensor=name,
                hint="give the config that was saved with the adapter",
                code="E-SHAPE",
            )


def _check_kinds(found: Mapping[str, Parts], fields: Any) -> None:
    """The config and the tensors must tell of one kind of update."""
    for module, each in found.items() if fields is not None else ():
        kind = each.kind
        stated = str(fields.get("peft_type", "LORA"))
        if kind.peft_type != stated:
            raise InputError(
                f"is {kind.name}, and the config says {stated}", tensor=module, hint=OTHERS, code="E-CONFIG"
            )
        for other in KINDS.values():
            if other.flag and other.peft_type == stated and bool(fields.get(other.flag)) != (kind.flag == other.flag):
                raise InputError(
                    f"is {kind.name}, and the config {'sets' if fields.get(other.flag) else 'does not set'} {other.flag}",
                    tensor=module,
                    hint=OTHERS,
                    code="E-CONFIG",
                )


def _weights(place: Place) -> Path:
    source = place.path
    if not place.folder:
        if not place.exists and not source.is_symlink():
            raise NotFoundError("does not exist", path=source, hint=similar(source))
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
    shown = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    files = [path for path in place.entries() if path.suffix == ".safetensors"]
    raise InputError(
        f"has no {WEIGHTS}; it has {shown or 'nothing'}",
        path=place,
        hint=f"name the file itself, such as {place.inner(files[0])}"
        if files
        else "name a folder that PEFT saved an adapter to",
        code="E-FOLDER",
    )


def similar(path: Path) -> str | None:
    try:
        there = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"the folder {path.parent} does not exist either"
    close = get_close_matches(path.name, there, n=3)
    return f"did you mean {' or '.join(str(path.parent / name) for name in close)}?" if close else None


def _fields(file: TensorFile, config_path: Path) -> Any:
    """The config next to the file, or the one in its header; None if it has neither."""
    if config_path.exists() or config_path.is_symlink():
        return read_json(config_path)
    if EMBEDDED in file.metadata:
        with at(tensor=f"header entry {EMBEDDED}"):
            fields = parse_json(file.metadata[EMBEDDED].encode())
            if isinstance(fields, dict) and any("." in key for key in fields):
                raise UnsupportedError(
                    "is the config of a pipeline with several components",
                    hint="save each component's adapter with PEFT's save_pretrained",
                )
            return fields
    return None


def _scalings(
    file: TensorFile,
    found: Mapping[str, Parts],
    fields: Any,
    alpha: float | None,
    config_path: Path,
    stacked: Collection[str],
) -> dict[str, Scaling]:
    ranks = {module: pair.rank for module, pair in found.items()}
    written = {module: _number(file, pair.alpha) for module, pair in found.items() if pair.alpha}
    if fields is not None:
        with at(path=config_path if config_path.exists() else None):
            known = scalings(fields, ranks, stacked)
        for module, value in written.items():
            if value != known[module].alpha:
                raise InputError(
                    f"its alpha tensor says {value:g}, the config says {known[module].alpha:g}",
                    tensor=module,
                    hint="remove the wrong one",
                    code="E-ALPHA",
                )
        return known
    if len(written) == len(found):
        return {module: Scaling(written[module], rank) for module, rank in ranks.items()}
    if written:
        module = next(module for module in found if module not in written)
        raise InputError(
            "has no alpha, though other modules have", tensor=module, hint="save the adapter again", code="E-ALPHA"
        )
    if alpha is None:
        raise InputError(
            f"says nothing of its scale: no {CONFIG} in its folder, no config in its header, no alpha tensors",
            hint="give the lora_alpha it was trained with: --alpha 16",
            code="E-ALPHA",
        )
    value = check_alpha("alpha", alpha)
    return {module: Scaling(value, rank) for module, rank in ranks.items()}


def _number(file: TensorFile, name: str) -> float:
    """The one number in a tensor, read without torch."""
    entry, data = file.entries[name], bytes(file.read(name))
    codes = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i"}
    if entry.dtype == "BF16" and len(data) == 2:
        data, code = b"\0\0" + data, "<f"
    else:
        code = codes.get(entry.dtype, "")
    if not code or len(data) != struct.calcsize(code):
        raise InputError(
            f"is a {entry.dtype} of shape {list(entry.shape)}, expected one number", tensor=name, code="E-ALPHA"
        )
    with at(tensor=name):
        return check_alpha("alpha", struct.unpack(code, data)[0])
