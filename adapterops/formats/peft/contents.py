"""What tensors under PEFT's names are, by a config."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from adapterops.errors import InputError, at
from adapterops.formats.adapter_files import CONFIG
from adapterops.formats.experts import along_experts, by_expert, parameters, square
from adapterops.formats.models.vocabulary import is_end
from adapterops.formats.peft.agreement import (
    OTHERS,
    agreeing,
    are_tied,
    check_biases,
    check_float,
    check_kernels,
    check_kinds,
    check_lora_bias,
    check_rows,
    check_same,
    not_saved,
)
from adapterops.formats.peft.attentions import in_model, taken_out
from adapterops.formats.peft.config import AdapterConfig, knows_sides, read_config
from adapterops.formats.peft.header import EMBEDDED, contradicting, of_each, stated
from adapterops.formats.peft.keys import BIAS, doubts, full_tensors, in_training, of_norms, token_rows
from adapterops.formats.peft.parts import PRUNED, Parts, parts
from adapterops.formats.peft.scaling import Scaling, check_alpha, number, scalings
from adapterops.formats.peft.selection import unnamed
from adapterops.formats.peft.tokens import of_rows, token_indices
from adapterops.formats.peft.variants import variant
from adapterops.formats.stacks import is_plain
from adapterops.storage.tensors import TensorHeader


class Contents(NamedTuple):
    """What `AdapterFiles` has of these names."""

    config: AdapterConfig
    modules: Mapping[str, Parts]
    scalings: Mapping[str, Scaling]
    full: Mapping[str, str]
    alpha: float | None


def contents(file: TensorHeader, fields: Any, config_path: Path, alpha: float | None = None) -> Contents:
    """What tensors under PEFT's names are, by a config.

    Args:
        fields: the config; None where there is none, and either each module says its scale, or `alpha` does.

    Raises:
        InputError, UnsupportedError: as `read_files` does.
    """
    weights, fields = file.path, of_norms(of_rows(fields), file.entries)
    stated_in = config_path if config_path.exists() else weights
    with at(path=stated_in):
        config = _config(fields)
    full, repeated = full_tensors(file, config)
    unannounced = tuple(tensor for tensor in full if not config.replaces(tensor))
    rows = token_rows(file)
    with at(path=stated_in):
        of = variant(fields, full)
    raw = parts(file, {*full.values(), *repeated, *rows.values(), *in_training(file.entries)}, of)
    with at(path=stated_in):
        tokens = _tokens(fields, rows)
        check_rows(file, rows, tokens)
    with at(path=weights):
        biases = {name: raw.pop(name) for name in list(raw) if BIAS in raw[name].tensors}
        check_biases(biases, raw, file)
        outputs = taken_out(raw)
        found = parameters(raw, config.target_parameters or (), knows_sides(fields))
        for pair in (*found.values(), *outputs.values()):
            check_float(file, pair)
        known = _known(file, found, raw, biases, fields, alpha, config_path)
        split, of_each, experts = by_expert(found, known, raw.keys())
        split, of_each = in_model(split, of_each, outputs, fields)
        split = dict(sorted({**split, **biases}.items()))
        of_each |= {name: known[name.removesuffix(".bias")] for name in biases}
        sides = frozenset(name for name in experts if found[name].transposed and knows_sides(fields))
        config = replace(config, square=square(experts, found))
        if along := along_experts(raw):
            experts |= along
            config = replace(config, targets=None)  # which name the experts as modules
        if tied := are_tied(raw, fields):
            config = replace(config, targets=None)  # which name one of the ends
        chosen = [name for name in split if is_plain(name, experts) and not (tied and is_end(f"{name}.weight"))]
    needed = fields is None and not stated(file.metadata) and not any(pair.alpha for pair in found.values())
    embeddings = frozenset(module for module, each in split.items() if each.kind.embedding)
    config = replace(
        config,
        experts=experts,
        reversed=sides,
        unannounced=unannounced,
        embeddings=embeddings,
        tokens=tokens,
        missing=not_saved(config, full),
        unnamed=tuple(unnamed(fields, chosen)) if fields and "" in _by_component(fields) else (),
        doubtful=doubts(full, file.entries),
    )
    return Contents(config, split, of_each, full | rows, alpha if needed else None)


def _known(
    file: TensorHeader,
    found: Mapping[str, Parts],
    raw: Mapping[str, Parts],
    biases: Collection[str],
    fields: Any,
    alpha: float | None,
    config_path: Path,
) -> dict[str, Scaling]:
    """The scaling of every module, by the config of its component, which has to tell of the same kinds."""
    known: dict[str, Scaling] = {}
    components = _by_component(fields)
    for prefix, own in components.items():
        inside = {name.removeprefix(prefix): pair for name, pair in found.items() if name.startswith(prefix)}
        stacked = {name for name in inside if prefix + name not in raw}
        with at(path=config_path):
            named = {name: pair for name, pair in raw.items() if name.startswith(prefix)}
            check_kinds(named, own)
            check_kernels(file, named)
            check_lora_bias(any(name.startswith(prefix) for name in biases), own)
        scales = _scalings(file, inside, own, alpha, config_path, stacked)
        known |= {prefix + name: scaling for name, scaling in scales.items()}
    if without := found.keys() - known.keys():
        raise InputError(
            f"belongs to no component that the config has, which are {', '.join(components)}",
            tensor=min(without),
            hint=OTHERS,
            code="E-CONFIG",
        )
    return known


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


def _scalings(
    file: TensorHeader,
    found: Mapping[str, Parts],
    fields: Any,
    alpha: float | None,
    config_path: Path,
    stacked: Collection[str],
) -> dict[str, Scaling]:
    ranks = {module: pair.rank for module, pair in found.items()}
    written = {module: _alpha(file, pair.alpha) for module, pair in found.items() if pair.alpha}
    if fields is not None:
        with at(path=config_path if config_path.exists() else None):
            known = scalings(fields, ranks, stacked)
        for others in contradicting(file.metadata, fields):
            with at(tensor="the header"):
                stated_scales = {module: each.scale for module, each in scalings(others, ranks, stacked).items()}
            check_same(known, stated_scales, config_path.name if config_path.exists() else EMBEDDED)
        return agreeing(known, written, "config")
    divisors = {module: _divisor(module, pair) for module, pair in found.items()}
    if header := stated(file.metadata):
        known = of_each(header, divisors)
        given = {} if alpha is None else dict.fromkeys(known, check_alpha("alpha", alpha))
        return agreeing(agreeing(known, written, "header"), given, "header", "--alpha")
    if written and len(written) < len(found):
        module = next(module for module in found if module not in written)
        raise InputError(
            "has no alpha, though other modules have", tensor=module, hint="save the adapter again", code="E-ALPHA"
        )
    if alpha is None and not written:
        raise InputError(
            f"does not state its scale: no {CONFIG} in its folder, no config in its header, no alpha tensors",
            hint="give the lora_alpha it was trained with, such as --alpha 16",
            code="E-ALPHA",
        )
    alphas = written or dict.fromkeys(found, check_alpha("alpha", alpha))
    return {module: Scaling(alphas[module], rank) for module, rank in divisors.items()}


def _divisor(module: str, parts: Parts) -> int:
    """What alpha is divided by, where the tensors alone have to say it."""
    if parts.rank is None or parts.kind.name == PRUNED:
        divided = "its tensors do not say the rank that alpha is divided by"
        raise InputError(
            divided if parts.kind.alpha else f"is {parts.kind.name}, and no config says how it is computed",
            tensor=module,
            hint=f"give it the {CONFIG} that it was saved with",
            code="E-RANK",
        )
    return parts.rank


def _alpha(file: TensorHeader, name: str) -> float:
    with at(tensor=name):
        return check_alpha("alpha", number(file, name))
