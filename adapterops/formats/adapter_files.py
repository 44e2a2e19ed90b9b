"""The files of an adapter: a folder, one of its sub-folders, or a lone safetensors file. Headers only."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import InputError, NotFoundError, UnsupportedError, at
from adapterops.formats.experts import along_experts, by_expert, parameters, square
from adapterops.formats.further import further_weights
from adapterops.formats.models.tokenizers import tokenizer_files
from adapterops.formats.models.unmerged import holds_base
from adapterops.formats.models.vocabulary import is_end
from adapterops.formats.peft.config import (
    AdapterConfig,
    Scaling,
    check_alpha,
    knows_sides,
    of_rows,
    read_config,
    scalings,
    token_indices,
)
from adapterops.formats.peft.keys import BIAS, full_tensors, token_rows
from adapterops.formats.peft.parts import Parts, parts
from adapterops.formats.peft.variants import variant
from adapterops.storage.place import Place
from adapterops.storage.strict import parse_json, read_json, similar
from adapterops.storage.tensors import Header, TensorFile, no_numbers
from adapterops.updates.kinds import KINDS
from adapterops.updates.layout import Layout, widest

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
OF_MODELS = re.compile(
    r"(model|pytorch_model|diffusion_pytorch_model)(\.\w+)?(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?"
)
"""The names of files that hold models."""

CLASSIFIERS = {"classifier", "score"}
"""Names that PEFT always lists for sequence classification, whichever of them the model has."""

OTHERS = "the config belongs to another adapter, or was edited"

EMBEDDED = "lora_adapter_metadata"
"""The header entry in which a lone file may carry its config."""


class Contents(NamedTuple):
    """What `AdapterFiles` has of these names."""

    config: AdapterConfig
    modules: Mapping[str, Parts]
    scalings: Mapping[str, Scaling]
    full: Mapping[str, str]
    alpha: float | None


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter of which the headers and the config have been read and checked, and no tensor.

    `paths` are the files it consists of, `full` are full tensors of the model by their names there. `alpha` is the
    one that was given, if it was needed. `further` are other files of weights in its folder, which are not read, and
    `tokenizer` are those of the tokenizer that it was trained with.
    `interleaved` are the modules whose rows are in another order than the model's; see `Adapter`.
    """

    file: TensorFile
    paths: tuple[Path, ...]
    config: AdapterConfig
    modules: Mapping[str, Parts]
    scalings: Mapping[str, Scaling]
    full: Mapping[str, str]
    alpha: float | None = None
    further: tuple[str, ...] = ()
    tokenizer: tuple[Path, ...] = ()
    interleaved: Mapping[str, str] = field(default_factory=dict)

    def layout(self, module: str) -> Layout:
        parts = self.modules[module]
        dtype = widest([self.file.entries[name].dtype for name in parts.tensors.values()])
        kind = parts.kind
        return Layout(parts.shape, parts.bound, dtype, kind.dense, kind.name, kind.reads, parts.kernel)

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
    if holds_base(file.entries):
        raise InputError(
            "is a model with an adapter in it that is not merged",
            path=weights,
            hint=f"adapterops split {weights} -o OUT writes its base and its adapter",
            code="E-UNMERGED",
        )
    found = contents(file, fields, config_path, alpha)
    paths = (weights, config_path) if config_path.exists() else (weights,)
    return AdapterFiles(file, paths, *found, further_weights(place, weights), tokenizer_files(place, weights))


def has_config(place: Place, weights: Path) -> bool:
    """Whether a file of tensors has a config of PEFT, next to it or in its header."""
    return place.has(weights.with_name(CONFIG)) or EMBEDDED in place.open(weights).metadata


def contents(file: Header, fields: Any, config_path: Path, alpha: float | None = None) -> Contents:
    """What tensors under PEFT's names are, by a config.

    Args:
        fields: the config; None where there is none, and either each module says its scale, or `alpha` does.

    Raises:
        InputError, UnsupportedError: as `read_files` does.
    """
    weights, fields = file.path, of_rows(fields)
    with at(path=config_path if config_path.exists() else weights):
        config = _config(fields)
    full, repeated = full_tensors(file, config)
    _check_saved(config, full, config_path if config_path.exists() else weights)
    unannounced = tuple(tensor for tensor in full if not config.replaces(tensor))
    rows = token_rows(file)
    with at(path=config_path if config_path.exists() else weights):
        of = variant(fields)
    raw = parts(file, {*full.values(), *repeated, *rows.values()}, of)
    with at(path=config_path if config_path.exists() else weights):
        tokens = _tokens(fields, rows)
        _check_rows(file, rows, tokens)
    with at(path=weights):
        biases = {name: raw.pop(name) for name in list(raw) if BIAS in raw[name].tensors}
        _check_biases(biases, raw, file)
        found = parameters(raw, config.target_parameters or (), knows_sides(fields))
        for pair in found.values():
            _check_float(file, pair)
        known: dict[str, Scaling] = {}
        for prefix, own in _by_component(fields).items():
            inside = {name.removeprefix(prefix): pair for name, pair in found.items() if name.startswith(prefix)}
            stacked = {name for name in inside if prefix + name not in raw}
            with at(path=config_path):
                named = {name: pair for name, pair in raw.items() if name.startswith(prefix)}
                _check_kinds(named, own)
                _check_not_tied(named, own)
                _check_lora_bias(any(name.startswith(prefix) for name in biases), own)
            scales = _scalings(file, inside, own, alpha, config_path, stacked)
            known |= {prefix + name: scaling for name, scaling in scales.items()}
        if without := found.keys() - known.keys():
            raise InputError(
                f"belongs to no component that the config has, which are {', '.join(_by_component(fields))}",
                tensor=min(without),
                hint=OTHERS,
                code="E-CONFIG",
            )
        split, of_each, experts = by_expert(found, known, raw.keys())
        split = dict(sorted({**split, **biases}.items()))
        of_each |= {name: known[name.removesuffix(".bias")] for name in biases}
        sides = frozenset(name for name in experts if found[name].transposed and knows_sides(fields))
        config = replace(config, square=square(experts, found))
        if along := along_experts(raw):
            experts |= along
            config = replace(config, targets=None)  # which name the experts as modules
    needed = fields is None and not any(pair.alpha for pair in found.values())
    embeddings = frozenset(module for module, each in split.items() if each.kind.embedding)
    config = replace(
        config, experts=experts, reversed=sides, unannounced=unannounced, embeddings=embeddings, tokens=tokens
    )
    return Contents(config, split, of_each, full | rows, alpha if needed else None)


def _check_biases(biases: Mapping[str, Parts], found: Mapping[str, Parts], file: Header) -> None:
    """Each bias of LoRA must be that of a module with LoRA, as long as its output."""
    for name, bias in biases.items():
        module = found.get(name.removesuffix(".bias"))
        if module is None or module.shape[0] != bias.shape[1]:
            shown = f"LoRA of {module.shape[0]} outputs" if module else "no LoRA"
            raise InputError(
                f"has a bias of {bias.shape[1]} numbers, and {shown}",
                tensor=bias.tensors[BIAS],
                hint="save it again",
                code="E-SHAPE",
            )
        _check_float(file, bias)


def _check_lora_bias(there: bool, fields: Any) -> None:
    """The config must know of biases of LoRA."""
    if fields is not None and bool(fields.get("lora_bias")) != there:
        fact = "there are biases of LoRA, and the config does not set" if there else "there are no biases, and it sets"
        raise InputError(f"{fact} lora_bias", hint=OTHERS, code="E-CONFIG")


def _check_float(file: Header, parts: Parts) -> None:
    for name in parts.tensors.values():
        if file.entries[name].dtype not in FLOATS:
            raise no_numbers(file.entries[name].dtype, file.path, name)


def _by_component(fields: Any) -> dict[str, Any]:
    """The config of every component of a pipeline, by what its modules begin with; of any other adapter the config.

    diffusers puts them all in one object: `{"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.r": 2, ...}`.
    """
    if not isinstance(fields, dict) or not fields or not all("." in key for key in fields):
        return {"": fields}
    found: dict[str, Any] = {}
    for key, value in fields.items():
        component, _, name = key.partition(".")
        found.setdefault(f"{component}.", {})[name] = value
    return found


def _config(fields: Any) -> AdapterConfig:
    """What a config says besides scales; those of several components are checked, and have nothing in common."""
    if fields is None:
        return AdapterConfig()
    configs = [read_config(each) for each in _by_component(fields).values()]
    if len(configs) == 1 and "" in _by_component(fields):
        return configs[0]
    saved = tuple(name for config in configs for name in config.saved)
    return AdapterConfig(saved=saved, biases=any(config.biases for config in configs))


def _tokens(fields: Any, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Which rows the full tensors of these names are, by the config of their component."""
    found: dict[str, tuple[int, ...]] = {}
    for prefix, own in _by_component(fields).items():
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        found |= {prefix + name: rows for name, rows in token_indices(own, inside).items()}
    return found | token_indices(None, [name for name in names if name not in found])


def _check_saved(config: AdapterConfig, full: Mapping[str, str], path: Path) -> None:
    for name in set(config.saved) - CLASSIFIERS:
        if not any(replace(config, saved=(name,), biases=False).replaces(tensor) for tensor in full):
            raise InputError(
                f"modules_to_save names {name!r}, and no tensor belongs to that",
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


def _check_rows(file: Header, names: Mapping[str, str], tokens: Mapping[str, Collection[int]]) -> None:
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
    if any(map(OF_MODELS.fullmatch, there)):
        hint = "name the folder of an adapter; a model comes first for fuse, and after --base elsewhere"
        raise InputError(
            f"is a model, where an adapter is expected: it has no {WEIGHTS}", path=place, hint=hint, code="E-FOLDER"
        )
    shown = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    files = [path for path in place.entries() if path.suffix in (".safetensors", ".gguf")]
    raise InputError(
        f"has no {WEIGHTS}; it has {shown or 'nothing'}",
        path=place,
        hint=f"name the file itself, such as {place.inner(files[0])}" if files else _further_in(place),
        code="E-FOLDER",
    )


def _further_in(place: Place) -> str:
    """Where an adapter is, of a folder that has none itself and none in its folders."""
    deeper = None if place.remote else next(place.path.glob(f"*/*/{WEIGHTS}"), None)
    return f"name one, such as {deeper.parent}" if deeper else "name the folder or the file of an adapter"


def _fields(file: Header, config_path: Path) -> Any:
    """The config next to the file, or the one in its header; None if it has neither."""
    if config_path.exists() or config_path.is_symlink():
        return read_json(config_path)
    if EMBEDDED in file.metadata:
        with at(tensor=f"header entry {EMBEDDED}"):
            return parse_json(file.metadata[EMBEDDED].encode())
    return None


def _scalings(
    file: Header,
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
                    hint="correct the one that is wrong",
                    code="E-ALPHA",
                )
        return known
    if written and len(written) < len(found):
        module = next(module for module in found if module not in written)
        raise InputError(
            "has no alpha, though other modules have", tensor=module, hint="save the adapter again", code="E-ALPHA"
        )
    if alpha is None and not written:
        raise InputError(
            f"does not state its scale: no {CONFIG} in its folder, no config in its header, no alpha tensors",
            hint="give the lora_alpha it was trained with: --alpha 16",
            code="E-ALPHA",
        )
    alphas = written or dict.fromkeys(found, check_alpha("alpha", alpha))
    return {module: Scaling(alphas[module], _rank(module, rank)) for module, rank in ranks.items()}


def _rank(module: str, rank: int | None) -> int:
    """What alpha is divided by, where the tensors alone have to say it."""
    if rank is None:
        raise InputError(
            "its tensors do not say the rank that alpha is divided by",
            tensor=module,
            hint=f"give it the {CONFIG} that it was saved with",
            code="E-RANK",
        )
    return rank


def _number(file: Header, name: str) -> float:
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
