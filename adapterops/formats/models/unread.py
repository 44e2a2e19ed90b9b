"""Quantized weights that are not read, or not whole.
Their tensors are refused: as ordinary ones they would pass for numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from adapterops.arrays.dtypes import BITS
from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.models.architectures import WEIGHT
from adapterops.quant.checks import damaged, foreign
from adapterops.quant.registry import Registered
from adapterops.regex import Regex
from adapterops.storage.tensors import Spec

FOREIGN = {
    ".wscales": "Nunchaku's SVDQuant",  # which has a qweight, too
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".pre_quant_scale": "modelopt's AWQ, which scales inputs,",
    ".W_q": "HQQ",
    ".codebooks": "AQLM",
    ".dense_weights": "SpQR",
    ".trellis": "EXL3",
    ".q_weight": "EXL2",
    ".Qidxs": "QuIP#",
    ".weight._data": "quanto",
    "._weight_qdata": "torchao",
}
"""Ends of tensor names by which what is not read is known."""

OLDER = "transformers writes it; older models have it in quantize_config.json (GPTQ) or quant_config.json (AWQ)"
CONFIGURED = {
    ".qweight": OLDER,
    ".qzeros": OLDER,
    ".weight_packed": "compressed-tensors writes it; older models call it compression_config",
}
"""Ends of names of what is read where the config says of what kind it is → where that is said."""

CODES = {dtype for dtype, bits in BITS.items() if bits <= 8} - {"BOOL"}
PACKED = {"I16", "U16", "I32", "U32", "U64"}
"""What a weight is in where a number of codes is a word."""

BUFFER = Regex(r"(.+[._])?(bias|mask)")
"""Masks of attention, which older models have in 8 bits."""

CODES_NEED = {"U8": ".weight.quant_state.bitsandbytes__nf4 or __fp4", "I8": ".SCB"}
"""What codes are without meaning without, by their dtype."""


def check_unread(left: Mapping[str, Spec], method: Any, any_read: bool, schemes: Collection[Registered]) -> None:
    """Raise for the first tensor that belongs to a quantized weight, among those that no scheme has taken.

    Args:
        method: the `quant_method` of the config.
        any_read: whether any weight was taken.
        schemes: those that were asked.

    Raises:
        InputError: parts of it are missing.
        UnsupportedError: its scheme is not read.
    """
    found = _ending(left, FOREIGN)
    for end, what in FOREIGN.items():
        for name in (name for name in found if name.endswith(end)):
            if method is None and end in CONFIGURED:
                raise UnsupportedError(
                    f"is a part of {what}, and no quantization_config in config.json says how its codes are stored",
                    tensor=name,
                    hint=f"add it to config.json, as {CONFIGURED[end]}",
                )
            raise foreign(f"{what}{f' ({method})' if method else ''}", name)
    check_method(method, schemes)
    for name, spec in left.items():
        if _holds_codes(name, spec, any_read or method is not None):
            raise _without_meaning(name, spec, left)
    remains = [remainder for each in schemes for remainder in each.remains]
    for name in _ending(left, {end for end, _, _ in remains}):
        for end, missing, dtype in remains:
            if name.endswith(end) and dtype in (None, left[name].dtype):
                raise damaged(
                    f"is a part of a quantized weight, and {name.removesuffix(end)}{missing} is missing", name
                )
    if method is not None and not any_read:
        raise UnsupportedError(
            f"has {method} in the quantization_config of config.json, and no weight that is stored in a layout of it that is read here",
            hint="if its weights are ordinary numbers, take quantization_config out of config.json; else dequantize it with its own"
            " library and save that",
        )


def _ending(names: Collection[str], ends: Collection[str]) -> list[str]:
    """Those that end in one of these: most names do not, and are asked once."""
    any_of = tuple(ends)
    return [name for name in names if name.endswith(any_of)]


def check_method(method: Any, schemes: Collection[Registered]) -> None:
    """Raise UnsupportedError for a `quant_method` that no scheme has."""
    known = frozenset[str]().union(*(each.methods for each in schemes))
    if method is not None and (not isinstance(method, str) or method not in known):
        raise foreign(str(method))


def _holds_codes(name: str, spec: Spec, quantized: bool) -> bool:
    if spec.dtype in PACKED:
        return name.endswith(WEIGHT) and len(spec.shape) >= 2
    if spec.dtype not in CODES:
        return False
    buffer = spec.dtype in CODES_NEED and (not quantized or BUFFER.fullmatch(name))
    return name.endswith(WEIGHT) or (len(spec.shape) >= 2 and not buffer)


def _without_meaning(name: str, spec: Spec, left: Mapping[str, Spec]) -> InputError | UnsupportedError:
    prefixes = (f"{name}_scale", f"{name}.quant_state", f"{name.removesuffix(WEIGHT)}.scales")
    found = next((each for each in left if each.startswith(prefixes)), None)
    if spec.dtype == "U32" and found == prefixes[2]:
        return UnsupportedError(
            f"is in {spec.dtype} with {found}, as MLX stores quantized weights, which are not read here",
            tensor=name,
            hint="use the 16-bit model it was made from, or what mlx_lm.convert --hf-path MODEL --mlx-path OUT --dequantize writes",
        )
    if found or not name.endswith(WEIGHT) or spec.dtype in PACKED:
        return UnsupportedError(
            f"is in {spec.dtype}{f', with {found},' if found else ''} in a layout that is not read here",
            tensor=name,
            hint="save the model in 16 bits with the library that quantized it",
        )
    missing = name.removesuffix(WEIGHT) + CODES_NEED.get(spec.dtype, ".weight_scale_inv or .weight_scale")
    return damaged(f"is in {spec.dtype}, and its codes cannot be decoded: {missing} is missing", name)
