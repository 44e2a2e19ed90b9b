"""Where such files say their scale: a tensor of each module, or the header; and where they say nothing, it is 1."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from math import isclose

from adapterops.errors import AdapterWarning, InputError
from adapterops.formats.diffusion.flat import DENOISER, flat, without_part
from adapterops.formats.peft.header import ALPHAS, EMBEDDED, entries, of_each, packed
from adapterops.formats.peft.keys import BIAS
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling, check_alpha, number
from adapterops.regex import Regex
from adapterops.storage.strict import parse_json
from adapterops.storage.tensors import TensorFile


def scaling_of_each(file: TensorFile, found: Mapping[str, Parts], alpha: float | None) -> dict[str, Scaling]:
    """alpha over rank of every module; where no alpha is stated, or 0, it is the rank.

    An alpha in a tensor that is rounded from the one that the header states is that one. What has no rank to divide by (a
    difference, LoKr of whole matrices) is as it is stored: 1, whatever is stated. A bias of LoRA has the scale of its module,
    as in PEFT and diffusers.

    Raises:
        InputError: an alpha is no number, or two that are stated differ.
    """
    ranks = {module: parts.rank for module, parts in found.items() if parts.rank and not parts.kind.dense}
    header, unstated = _in_header(file, ranks), False
    result = {module: Scaling(1, 1) for module in found.keys() - ranks.keys()}
    for module, rank in ranks.items():
        name = found[module].alpha
        known = header.get(module, [])
        known += [Scaling(check_alpha("alpha", alpha), rank)] if alpha is not None else []
        if name:
            stored, step = Scaling(number(file, name) or rank, rank), STEP.get(file.entries[name].spec.dtype, 0.0)
            rounded = known and all(isclose(stored.scale, each.scale, rel_tol=step) for each in known)
            known += [] if rounded else [stored]
        if len({each.scale for each in known}) > 1:
            shown = " and ".join(f"{each.alpha:g}" for each in known)
            raise InputError(
                f"alpha is stated more than once, as {shown}",
                tensor=module,
                hint="find out which one it was trained with, and remove the others",
                code="E-ALPHA",
            )
        result[module] = known[0] if known else Scaling(rank, rank)
        unstated |= not known and name is None
    if unstated:
        _warn_of_unread(file)
    for module, parts in found.items():
        if BIAS in parts.tensors:
            result[module] = result[_owner(module, found)]
    return {module: result[module] for module in found}


STEP = {"F32": 2**-24, "F16": 2**-11, "BF16": 2**-8, "F8_E4M3": 2**-4, "F8_E5M2": 2**-3}
"""By how much a number may differ from what it is stored as: 0.3 is 0.300781 in bfloat16."""

UNREAD = Regex(r"(?!ss_|modelspec\.)(?:.*[._])?(?:lora|network)?_?(?:alpha|scale|scaling)", re.IGNORECASE)
"""Entries of a header that may say a scale, and that are read only where they are spelled as programs read them."""


def _warn_of_unread(file: TensorFile) -> None:
    """Warn of entries that may say the scale of modules of which nothing else does: nobody reads them, so it is 1."""
    for entry, text in file.metadata.items():
        part, _, word = entry.rpartition(".")
        of_part = word in ALPHAS and (not part or flat(f"{part}.x").part)
        if (UNREAD.fullmatch(entry) and not of_part) or (
            _holds_configs(text) if entry == EMBEDDED else _is_config(text)
        ):
            warnings.warn(
                f"{file.path.name}: the header entry {entry} may state a scale, and is not read for any module: 1 is taken"
                " where no tensor states one; --alpha gives another",
                AdapterWarning,
                stacklevel=2,
            )


def _holds_configs(text: str) -> bool:
    """Whether a text has scales of parts of a pipeline in objects of their own, where programs read them by name: `unet.r`."""
    found = parse_json(text.encode())
    return isinstance(found, dict) and any(
        isinstance(each, dict) and {*ALPHAS} & each.keys() for each in found.values()
    )


def _is_config(text: str) -> bool:
    """Whether a text is a config of LoRA as PEFT saves it."""
    try:
        found = parse_json(text.encode()) if text.startswith("{") else None
    except InputError:
        return False
    return isinstance(found, dict) and {"r", "lora_alpha"} <= found.keys()


def _owner(bias: str, found: Mapping[str, Parts]) -> str:
    """The module that a bias of LoRA belongs to."""
    if (owner := bias.removesuffix(".bias")) in found:
        return owner
    raise InputError(
        "is a bias of LoRA whose module is not in the file", tensor=bias, hint="save it again", code="E-KEY"
    )


def _in_header(file: TensorFile, ranks: Mapping[str, int]) -> dict[str, list[Scaling]]:
    """What the header states: a config of PEFT, whole or field by field, of the model or of a part of a pipeline.

    A part is what its name means: `transformer.lora_alpha` is the alpha of `diffusion_model.blocks.0.attn.q`, too, and of
    a name that says no part.
    """
    single, whole = entries(file.metadata), packed(file.metadata)
    config = whole if isinstance(whole, dict) else {}
    fields = single | config
    found: dict[str, list[Scaling]] = {}
    for entry, alpha in (*single.items(), *config.items()):
        part, _, word = entry.rpartition(".")
        if word not in ALPHAS or alpha is None:
            continue
        start = f"{part}." if part else ""
        own = {key.removeprefix(start): value for key, value in fields.items() if key.startswith(start)}
        known = {key: own.get(key) for key in ("rank_pattern", "alpha_pattern", "use_rslora")}
        inside = _inside(start, ranks)
        scales = of_each(
            {"r": own.get("r", own.get("rank")), "lora_alpha": alpha, **known},
            {name: ranks[module] for module, name in inside.items()},
        )
        for module, name in inside.items():
            found.setdefault(module, []).append(scales[name])
    return found


def _inside(start: str, modules: Collection[str]) -> dict[str, str]:
    """The modules of a part of a pipeline, and what each is called in it."""
    named = {module: module.removeprefix(start) for module in modules if module.startswith(start)}
    part = flat(f"{start}x").part
    same = [module for module in modules if part and (flat(module).part or DENOISER) == part]
    return named or {module: without_part(module) for module in same}
