"""The quantized weights of a checkpoint: every scheme is asked, and exactly one may claim a weight.

Weights are recognised by the tensors themselves, where they tell; a config may be stale. What is not understood is
refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from adapterops.arrays.dtypes import EIGHTH, FLOATS
from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.models.naming import conv1d
from adapterops.formats.models.unread import check_method, check_unread
from adapterops.quant.checks import damaged
from adapterops.quant.comfy import check_formats
from adapterops.quant.fp8 import is_unscaled
from adapterops.quant.header import WEIGHT, Claim, Header, key, shown
from adapterops.quant.registry import Registered, own, schemes
from adapterops.quant.scheme import Part, Scheme
from adapterops.quant.sections import check_inputs
from adapterops.quant.transposed import Transposed
from adapterops.storage.strict import parse_json
from adapterops.storage.tensors import Spec

PLAIN = {*FLOATS, "I64", "BOOL"}
"""Dtypes of ordinary tensors. A model that has no others, and no config of quantization, has no quantized weight."""

NOTHING: Mapping[str, str] = MappingProxyType({})
SMALL = 1 << 16
"""Bytes that a tensor has at most that says how others are to be read."""


class Weight(NamedTuple):
    """A quantized weight: its scheme, the shape it has when used, and the tensors it is stored as, by their roles."""

    scheme: Scheme
    shape: tuple[int, ...]
    keys: Mapping[str, str]


def quantized(
    entries: Mapping[str, Spec],
    config: Mapping[str, Any] | None,
    read: Callable[[str], bytes],
    metadata: Mapping[str, str] = NOTHING,
) -> tuple[Mapping[str, Weight], list[str]]:
    """The quantized weights among the tensors of a checkpoint, and the names of the others.

    Args:
        read: the bytes of a tensor; none but small ones are asked for.
        metadata: what the headers of the files say besides tensors.

    Raises:
        InputError: a part is missing, or is not what the others say, or two schemes claim a weight.
        UnsupportedError: a scheme is not understood.
    """

    def small(name: str) -> bytes:
        if entries[name].bytes > SMALL:
            raise damaged(f"takes {entries[name].bytes} bytes, expected at most {SMALL}", name)
        return read(name)

    parts = {name: Part(*spec) for name, spec in entries.items()}
    header = Header(parts, config or {}, small, lambda name: parse_json(small(name)))
    asked = schemes() if header.section or any(spec.dtype not in PLAIN for spec in entries.values()) else own()
    check_inputs(header.section)
    check_formats(header, metadata)
    method = header.section.get("quant_method")
    try:
        weights = {tensor: _weight(tensor, claim, header) for tensor, claim in _claims(header, asked).items()}
    except InputError:  # of a scheme whose parts have the same names
        check_method(method, asked)
        raise
    taken = {each for weight in weights.values() for each in weight.keys.values()}
    others = [name for name in entries if name not in taken]
    numbers = EIGHTH if is_unscaled(header) else ()
    left = {name: entries[name] for name in others if entries[name].dtype not in numbers}
    check_unread(left, method, bool(weights), asked)
    _check_parts(weights, others)
    return weights, others


def _check_parts(weights: Mapping[str, Weight], others: list[str]) -> None:
    """Raise for a part of a claimed weight that its scheme does not know: what it stands for may depend on it."""
    for name in others:
        module, _, role = name.rpartition(".")
        weight = weights.get(module + WEIGHT)
        if weight and role.startswith("weight_"):
            what = f"is a part of a weight that is stored as {weight.scheme.name}, which is not read with it"
            raise UnsupportedError(
                what, tensor=name, hint="save the model in 16 bits with the library that quantized it"
            )


def _claims(header: Header, asked: list[Registered]) -> dict[str, Claim]:
    claims: dict[str, Claim] = {}
    for each in asked:
        for role in each.marks:
            for tensor in header.weights(role):
                with at(tensor=tensor):
                    claim = each.detect(header, tensor, role)
                    if claim and tensor in claims:
                        raise damaged(
                            f"has parts of {claims[tensor].scheme.name} and of {claim.scheme.name}, expected one"
                        )
                if claim:
                    claims[tensor] = claim
    return claims


def _weight(tensor: str, claim: Claim, header: Header) -> Weight:
    """A claimed weight, all of whose parts are there, and have the dtype and shape that the scheme says."""
    keys = {}
    for role, part in claim.parts.items():
        keys[role] = key(tensor, role)
        found = header.part(tensor, role)
        if found != part:
            expected = f"{keys[role]} should be {shown(part)}; found {shown(found)}"
            raise damaged(f"is stored as {claim.scheme.name}, for which {expected}", tensor)
    if conv1d(tensor, header.config):
        return Weight(Transposed(claim.scheme), claim.shape[::-1], keys)
    return Weight(claim.scheme, claim.shape, keys)
