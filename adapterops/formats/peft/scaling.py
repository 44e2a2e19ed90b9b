"""How the update of each module is scaled, by a config: alpha/r, patterns, rsLoRA, AdaLoRA."""

from __future__ import annotations

import math
import struct
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapterops.errors import AdapterWarning, InputError, in_json
from adapterops.formats.peft.patterns import matches
from adapterops.storage.tensors import TensorHeader
from adapterops.updates.kinds import KINDS

CODES = {
    "F64": "<d",
    "F32": "<f",
    "F16": "<e",
    "BF16": "<f",
    "I64": "<q",
    "I32": "<i",
    "I16": "<h",
    "I8": "<b",
    "U8": "<B",
}
"""How one number of a dtype is unpacked; of BF16 with two bytes of 0 before it."""

NUMBER = "write the number there that it was trained with"
ALPHA = "write the alpha there that it was trained with"


@dataclass(frozen=True)
class Scaling:
    """alpha/r, or alpha/sqrt(r) under rsLoRA."""

    alpha: float
    rank: int
    rslora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


def alpha_field(fields: Mapping[str, Any]) -> str | None:
    """What a config of its type calls the numerator of the scale; None where it has none."""
    stated = fields.get("peft_type", "LORA")
    return next((kind.alpha for kind in KINDS.values() if kind.peft_type == stated), None)


def scalings(
    fields: Mapping[str, Any], ranks: Mapping[str, int | None], stacked: Collection[str] = ()
) -> dict[str, Scaling]:
    """The scaling of every module, by PEFT's rules: the first pattern in the order of the file that matches wins.

    Args:
        fields: the config.
        ranks: for each module the rank of its tensors, which is the truth; None where they do not say it.
        stacked: those whose tensors may hold several experts, each of the rank that the config says.

    Raises:
        InputError: the config's rank is not the tensors', or a value is impossible.

    Warns:
        AdapterWarning: a pattern matches no module, or several with different values match one.
    """
    field = alpha_field(fields)
    if field is None:
        if all(kind.peft_type != fields.get("peft_type", "LORA") for kind in KINDS.values()):
            raise InputError(
                f"peft_type {fields['peft_type']!r} is not known, and neither is its scale",
                hint="write there what it was trained with",
                code="E-CONFIG",
            )
        return dict.fromkeys(ranks, Scaling(1, 1))
    if fields.get("peft_type") == "ADALORA":
        return _of_adalora(fields, ranks)
    _check_stated(fields, "r", field)
    r, alpha = _rank("r", fields.get("r")), check_alpha(field, fields.get(field))
    rslora = fields.get("use_rslora") or False
    if not isinstance(rslora, bool):
        raise InputError(
            f"use_rslora is {in_json(rslora)}, expected true or false",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    stated_ranks = _look_up("rank_pattern", fields.get("rank_pattern"), list(ranks), r, _rank)
    alphas = _look_up("alpha_pattern", fields.get("alpha_pattern"), list(ranks), alpha, check_alpha)
    for module, rank in ranks.items():
        stated_rank = stated_ranks[module]
        if rank is not None and (rank % stated_rank if module in stacked else stated_rank != rank):
            raise InputError(
                f"the config says rank {stated_rank}, the tensors have rank {rank}"
                + (" for all experts" if module in stacked else ""),
                tensor=module,
                hint="the config belongs to another adapter, or was edited",
                code="E-RANK",
            )
    return {module: Scaling(alphas[module], int(stated_ranks[module]), rslora) for module in ranks}


def _of_adalora(fields: Mapping[str, Any], ranks: Mapping[str, int | None]) -> dict[str, Scaling]:
    """alpha over the rank that training began with, however much of it is left (and over 1e-5 more, as PEFT does).

    Raises:
        InputError: a mask of rank_pattern keeps another number of dimensions than the tensors have.
    """
    _check_stated(fields, "init_r", "lora_alpha")
    initial, alpha = _rank("init_r", fields.get("init_r")), check_alpha("lora_alpha", fields.get("lora_alpha"))
    masks = fields.get("rank_pattern") or {}
    for name, mask in masks.items() if isinstance(masks, dict) else ():
        module = name.partition(".lora_E")[0]
        kept = sum(mask) if isinstance(mask, list) and all(isinstance(each, bool) for each in mask) else None
        if module in ranks and kept != ranks[module]:
            raise InputError(
                f"rank_pattern keeps {kept} of its dimensions, the tensors have {ranks[module]}",
                tensor=module,
                hint="the config belongs to another adapter, or was edited",
                code="E-RANK",
            )
    return dict.fromkeys(ranks, Scaling(alpha * initial / (initial + 1e-5), int(initial)))


def _look_up(what: str, patterns: Any, modules: Sequence[str], default: float, check: Any) -> dict[str, float]:
    if patterns is None or patterns == {}:
        return dict.fromkeys(modules, default)
    if not isinstance(patterns, dict):
        raise InputError(
            f"{what} is {in_json(patterns)}, expected an object",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    values = [check(f"{what}[{key!r}]", value) for key, value in patterns.items()]
    found = matches(list(patterns), modules)
    used = {index for indices in found for index in indices}
    for index, key in enumerate(patterns):
        if index not in used:
            warnings.warn(f"{what} {key!r} matches no module", AdapterWarning, stacklevel=2)
    for module, indices in zip(modules, found, strict=True):
        if len({values[index] for index in indices}) > 1:
            warnings.warn(
                f"several of {what} match {module} with different values; the first in the file is taken, as PEFT does",
                AdapterWarning,
                stacklevel=2,
            )
            break
    return {module: values[indices[0]] if indices else default for module, indices in zip(modules, found, strict=True)}


def _check_stated(fields: Mapping[str, Any], *names: str) -> None:
    """Raise InputError for a field that a config lacks, which has a default in the versions of PEFT, not in each the same."""
    if lacking := [name for name in names if name not in fields]:
        raise InputError(
            f"does not state {' and '.join(lacking)}, which the scale depends on",
            hint="write what it was trained with into the config; PEFT's own defaults are r 8, lora_alpha 8 and init_r 12",
            code="E-CONFIG",
        )


def _rank(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{what} is {in_json(value)}, expected a whole number above 0", hint=NUMBER, code="E-CONFIG")
    return value


def check_alpha(what: str, value: Any) -> float:
    """A lora_alpha: a number above 0, whole or not.

    Raises:
        InputError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise InputError(f"{what} is {in_json(value)}, expected a number above 0", hint=NUMBER, code="E-CONFIG")
    return float(value)


def number(file: TensorHeader, name: str) -> float:
    """The one number in a tensor, read without torch; it may be whole, negative, or 0.

    Raises:
        InputError: it is none.
    """
    entry = file.entries[name]
    code = CODES.get(entry.dtype)
    data = bytes(file.read(name)) if math.prod(entry.shape) == 1 else b""
    if code is None or not data:
        shown = f"{entry.dtype} of shape {list(entry.shape)}"
        raise InputError(f"is {shown}, expected one number", tensor=name, hint=ALPHA, code="E-ALPHA")
    value = float(struct.unpack(code, b"\0\0" + data if entry.dtype == "BF16" else data)[0])
    if not math.isfinite(value):
        raise InputError(f"is {value}, expected one number", tensor=name, hint=ALPHA, code="E-ALPHA")
    return value
