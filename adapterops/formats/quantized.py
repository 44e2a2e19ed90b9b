"""How quantized weights are named in files, which weights transformers quantizes, and what config.json says of it.

Recognised by the tensors themselves; a config may be stale. What is not understood is refused by its name.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.naming import WEIGHT, conv1d
from adapterops.formats.unread import check_unread, damaged, foreign
from adapterops.quant.fourbit import BLOCK_SIZES, NESTED_BLOCK, FourBit
from adapterops.quant.fp8 import FLOATS, FP8, SCALES
from adapterops.quant.int8 import Int8
from adapterops.quant.mxfp4 import MXFP4
from adapterops.quant.packed import Packed
from adapterops.quant.scheme import LONG_NAMES, Scheme
from adapterops.quant.transposed import Transposed
from adapterops.storage.safetensors import Spec
from adapterops.storage.strict import parse_json

CONFIG = "quantization_config"
LARGEST = 3.4e38
"""No float32 is larger."""

STATE = re.compile(r"(.+)\.weight\.quant_state\.bitsandbytes__(nf4|fp4)")
FP8_SCALES = ("weight_scale_inv", "weight_scale", "scale", "qscale_weight")
EXTRAS = ("input_scale", "input_scale_ub", "activation_scale", "qscale_act")
"""Scales of activations: they go along with a weight as it is, and go when it is dequantized."""

LENGTHS = {"I64": "<2q", "I32": "<2i"}
SMALL = 1 << 16
"""Bytes that a tensor has at most that says how others are to be read."""


class Weight(NamedTuple):
    """A quantized weight: its scheme, the shape it has when used, and the tensors it is stored as, by their roles."""

    scheme: Scheme
    shape: tuple[int, ...]
    keys: Mapping[str, str]


def key(tensor: str, role: str) -> str:
    """The name of a part.

    >>> key("model.fc.weight", "weight.absmax"), key("model.fc.weight", "SCB"), key("experts.down_proj", "_blocks")
    ('model.fc.weight.absmax', 'model.fc.SCB', 'experts.down_proj_blocks')
    """
    return tensor + role if role.startswith("_") else f"{tensor.removesuffix(WEIGHT)}.{role}"


def quantized(
    entries: Mapping[str, Spec], config: Mapping[str, Any] | None, read: Callable[[str], bytes]
) -> tuple[dict[str, Weight], list[str]]:
    """The quantized weights among the tensors of a checkpoint, and the names of the others.

    Args:
        read: the bytes of a tensor; none but small ones are asked for.

    Raises:
        InputError: a part is missing, or is not what the others say.
        UnsupportedError: a scheme is not understood.
    """
    config = config or {}
    section = config.get(CONFIG)
    said: Mapping[str, Any] = section if isinstance(section, dict) else {}
    weights: dict[str, Weight] = {}

    def read_small(name: str) -> bytes:
        if entries[name].bytes > SMALL:
            raise damaged(f"takes {entries[name].bytes} bytes, expected at most {SMALL}", name)
        return read(name)

    for name, spec in entries.items():
        if match := STATE.fullmatch(name):
            with at(tensor=name):
                tensor = match[1] + WEIGHT
                scheme, shape = _fourbit(parse_json(read_small(name)), match[2], spec, entries, tensor)
                weights[tensor] = _weight(tensor, scheme, shape, entries)
        elif name.endswith(".SCB"):
            tensor = name.removesuffix(".SCB") + WEIGHT
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_int8(tensor, entries, config, read_small), entries)
        elif name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in entries:
            tensor = name.removesuffix("_blocks")
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_mxfp4(spec, config), entries)
        elif name.endswith(".weight_packed") and said.get("quant_method") == "compressed-tensors":
            tensor = name.removesuffix(".weight_packed") + WEIGHT
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_compressed(tensor, entries, said, config, read_small), entries)
        elif name.endswith(".qweight") and said.get("quant_method") == "awq":
            tensor = name.removesuffix(".qweight") + WEIGHT
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_awq(tensor, spec, said, config), entries)
        elif spec.dtype in FLOATS and name.endswith(WEIGHT) and any(key(name, role) in entries for role in FP8_SCALES):
            with at(tensor=name):
                weights[name] = _weight(name, *_fp8(name, spec, entries, config, said), entries)
    weights = {tensor: _turned(weight) if conv1d(tensor, config) else weight for tensor, weight in weights.items()}
    taken = {each for weight in weights.values() for each in weight.keys.values()}
    others = [name for name in entries if name not in taken]
    check_unread({name: entries[name] for name in others}, said.get("quant_method"), bool(weights))
    return weights, others


def _weight(tensor: str, scheme: Scheme, shape: tuple[int, ...], entries: Mapping[str, Spec]) -> Weight:
    """With every part found, and of the dtype and shape that the scheme says."""
    keys = {}
    for role, part in scheme.parts(shape).items():
        name = key(tensor, role)
        found = entries.get(name)
        state = role.startswith("weight.quant_state")  # as long as whoever wrote it made it
        flat = isinstance(scheme, FourBit) and role == "weight" and found and math.prod(found.shape) == math.prod(part.shape)
        if found is None or found.dtype != part.dtype or not (state or flat or found.shape == part.shape):
            expected = f"{name} should be {_told(Spec(*part))}; found {_told(found)}"
            raise damaged(f"is stored as {scheme.name}, for which {expected}", tensor)
        keys[role] = name
    extras = {role: key(tensor, role) for role in EXTRAS if isinstance(scheme, FP8) and key(tensor, role) in entries}
    return Weight(scheme, shape, {**keys, **extras})


def _told(spec: Spec | None) -> str:
    return "nothing" if spec is None else f"{spec.dtype} {list(spec.shape)}"


def _fourbit(state: Any, kind: str, spec: Spec, entries: Mapping[str, Spec], tensor: str) -> tuple[FourBit, tuple[int, ...]]:
    def need(holds: bool, what: str) -> None:
        if not holds:
            raise InputError(f"says {what}", hint="the checkpoint is damaged, or of a kind that is not known here", code="E-QUANT")

    need(isinstance(state, dict), "nothing: it is no object")
    shape, size = state.get("shape"), state.get("blocksize")
    dtypes = {long: short for short, long in LONG_NAMES.items()}
    need(state.get("quant_type") == kind, f"quant_type {state.get('quant_type')!r}, and its name says {kind}")
    need(isinstance(size, int) and size in BLOCK_SIZES, f"blocksize {size!r}")
    need(isinstance(state.get("dtype"), str) and state["dtype"] in dtypes, f"dtype {state.get('dtype')!r}")
    need(isinstance(shape, list) and len(shape) > 0 and all(type(n) is int and 0 < n < 1 << 40 for n in shape), f"shape {shape!r}")
    nested = "nested_absmax" in "".join(state) or "nested_blocksize" in state
    offset = state.get("nested_offset") if nested else 0.0
    if nested:
        need(state.get("nested_blocksize") == NESTED_BLOCK, f"nested_blocksize {state.get('nested_blocksize')!r}")
        need(state.get("nested_dtype") == "float32", f"nested_dtype {state.get('nested_dtype')!r}")
        need(type(offset) in (int, float) and abs(offset) < LARGEST, f"nested_offset {offset!r}")
    storage = entries[tensor].dtype if tensor in entries else "U8"
    need(storage in ("U8", "BF16", "F16", "F32"), f"nothing of a weight in {storage}")
    return FourBit(kind, size, nested, dtypes[state["dtype"]], storage, float(offset)), tuple(shape)


def _int8(
    tensor: str, entries: Mapping[str, Spec], config: Mapping[str, Any], read: Callable[[str], bytes]
) -> tuple[Int8, tuple[int, ...]]:
    spec = entries.get(tensor)
    if spec is None or len(spec.shape) != 2:
        raise InputError(f"has scales, and no weight of two dimensions: {spec}", code="E-QUANT")
    marker = key(tensor, "weight_format")
    if marker in entries and read(marker) != b"\0":
        raise UnsupportedError("is stored in another layout than row by row", hint="save it again with a recent bitsandbytes")
    return Int8(_used_as(config), marker in entries), spec.shape


def _mxfp4(spec: Spec, config: Mapping[str, Any]) -> tuple[MXFP4, tuple[int, ...]]:
    if len(spec.shape) != 4 or spec.shape[3] != 16:
        raise InputError(f"has blocks of shape {list(spec.shape)}, expected (experts, rows, blocks, 16)", code="E-QUANT")
    experts, out, blocks, _ = spec.shape
    return MXFP4(_used_as(config)), (experts, blocks * 32, out)


def _fp8(
    name: str, spec: Spec, entries: Mapping[str, Spec], config: Mapping[str, Any], said: Mapping[str, Any]
) -> tuple[FP8, tuple[int, ...]]:
    roles = [role for role in FP8_SCALES if key(name, role) in entries]
    if len(spec.shape) != 2:
        raise UnsupportedError(f"is in {spec.dtype} and has {len(spec.shape)} dimensions, expected 2", hint="save the model in 16 bits")
    if len(roles) != 1:
        raise UnsupportedError(
            f"is in {spec.dtype} with {len(roles)} tensors of scales ({', '.join(roles)}), expected one",
            hint="save the model in 16 bits with the library that quantized it",
        )
    scales = entries[key(name, roles[0])]
    block = _fp8_block(spec.shape, scales.shape, said.get("weight_block_size"))
    if scales.dtype not in SCALES or block is None:
        raise UnsupportedError(
            f"of shape {list(spec.shape)} has scales in {scales.dtype} of shape {list(scales.shape)}, which fit no known layout",
            hint=f"blocks need weight_block_size in the {CONFIG} of config.json",
        )
    return FP8(block, roles[0], spec.dtype, scales.dtype, scales.shape, _used_as(config)), spec.shape


def _compressed(
    tensor: str, entries: Mapping[str, Spec], said: Mapping[str, Any], config: Mapping[str, Any], read: Callable[[str], bytes]
) -> tuple[Packed, tuple[int, ...]]:
    """pack-quantized: integers of one number of bits for the whole model, in groups or by row."""
    section = said.get("config_groups")
    groups = [group.get("weights") for group in section.values() if isinstance(group, dict)] if isinstance(section, dict) else []
    keys = ("num_bits", "type", "symmetric", "strategy", "group_size", "actorder")
    args: list[dict[str, Any]] = [{name: group.get(name) for name in keys} for group in groups if isinstance(group, dict)]
    told: Any = args[0] if args and all(each == args[0] for each in args) else {}
    bits, symmetric, strategy, size = [told.get(name) for name in ("num_bits", "symmetric", "strategy", "group_size")]
    known = told.get("type") == "int" and bits in (4, 8) and strategy in ("group", "channel") and isinstance(symmetric, bool)
    if not known or told.get("actorder") not in (None, "weight") or key(tensor, "weight_g_idx") in entries:
        raise foreign(f"compressed-tensors in a way ({said.get('format')}, {told or f'{len(args)} kinds of weights'})", tensor)
    name, used = key(tensor, "weight_shape"), _used_as(config)
    lengths, scale = entries.get(name), entries.get(key(tensor, "weight_scale"), Spec(used, ()))
    if lengths is None or lengths.dtype not in LENGTHS or lengths.shape != (2,):
        raise damaged(f"should be the rows and columns, in {' or '.join(LENGTHS)}; found {_told(lengths)}", name)
    out, into = struct.unpack(LENGTHS[lengths.dtype], read(name))
    if min(out, into) <= 0:
        raise damaged(f"says {[out, into]}, expected rows and columns", name)
    group = _group(bits, into if strategy == "channel" and size in (None, -1) else size, into)
    dtype = scale.dtype if scale.dtype in LONG_NAMES else used
    return Packed("compressed-tensors", bits, group, symmetric, dtype, lengths.dtype, used), (out, into)


def _awq(tensor: str, spec: Spec, said: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Packed, tuple[int, ...]]:
    """AutoAWQ's GEMM layout: (in, out / 8) words of eight codes."""
    bits, size, zeros = said.get("bits", 4), said.get("group_size", 128), said.get("zero_point", True)
    if bits != 4 or str(said.get("version", "gemm")).lower() != "gemm" or not isinstance(zeros, bool):
        raise foreign(f"AWQ in a way ({bits} bits, groups of {size}, zero points {zeros}, {said.get('version')})", tensor)
    if len(spec.shape) != 2 or 0 in spec.shape:
        raise damaged(f"is AWQ, and its qweight is {_told(spec)}, expected I32 [in, out / 8]")
    into, columns = spec.shape
    return Packed("awq", bits, _group(bits, into if size == -1 else size, into), not zeros, dtype=_used_as(config)), (columns * 8, into)


def _group(bits: Any, size: Any, into: int) -> int:
    """The size of groups, if `into` columns are whole ones."""
    if type(bits) is not int or type(size) is not int or size <= 0 or into % size:
        raise damaged(f"is in {bits!r} bits and groups of {size!r} by the {CONFIG}, expected whole numbers, and groups that divide {into}")
    return size


def _fp8_block(shape: tuple[int, ...], scales: tuple[int, ...], said: Any) -> tuple[int, int] | None:
    """Rows and columns that share a scale. The size of blocks is never guessed from their number."""
    if math.prod(scales) == 1:
        return shape[0], shape[1]
    if scales in ((shape[0],), (shape[0], 1)):
        return 1, shape[1]
    if isinstance(said, list) and len(said) == 2 and all(type(n) is int and n > 0 for n in said):
        rows, columns = said
        return (rows, columns) if scales == (-(-shape[0] // rows), -(-shape[1] // columns)) else None
    return None


def _used_as(config: Mapping[str, Any]) -> str:
    said = config.get("dtype") or config.get("torch_dtype")
    return {long: short for short, long in LONG_NAMES.items()}.get(str(said), "BF16")


def _turned(weight: Weight) -> Weight:
    return Weight(Transposed(weight.scheme), weight.shape[::-1], weight.keys)
