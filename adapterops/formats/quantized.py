"""How quantized weights are named in files, which weights transformers quantizes, and what config.json says of it.

Recognised by the tensors themselves; a config may be stale. What is not understood is refused by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from adapterops.errors import InputError, UnsupportedError, VerificationError, at
from adapterops.formats.naming import CONV1D_MODULES, CONV1D_TYPES, EMBEDDINGS, HEAD, WEIGHT
from adapterops.quant.fourbit import BLOCK_SIZES, NESTED_BLOCK, FourBit
from adapterops.quant.fp8 import FLOATS, FP8, SCALES
from adapterops.quant.int8 import Int8
from adapterops.quant.mxfp4 import MXFP4
from adapterops.quant.packed import Packed
from adapterops.quant.scheme import LONG_NAMES, Part, Scheme
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

READ_METHODS = {"bitsandbytes", "fp8", "fbgemm_fp8", "mxfp4", "compressed-tensors", "awq", "modelopt", None}
FOREIGN = {
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".weight_global_scale": "NVFP4",
    ".weight_scale_2": "NVFP4",
    ".W_q": "HQQ",
    ".codebooks": "AQLM",
    ".dense_weights": "SpQR",
}
"""Ends of tensor names by which what is not read is known."""

STAYS = {
    *EMBEDDINGS, HEAD, "wpe", "embed_positions", "position_embeddings", "token_type_embeddings", "tok_embeddings", "shared",
    "relative_attention_bias", "embed_out", "output", "score", "classifier", "classification_head", "qa_outputs", "pooler",
    "gate", "router", "shared_expert_gate", "patch_embed", "position_embedding", "pos_embed", "tile_embedding", "embedding",
}  # fmt: skip
"""Last names of modules that have a matrix and are not quantized: embeddings, heads, routers."""

OWN_LINEAR = {"falcon"}
"""Model types whose linear layers are classes of their own, which transformers does not quantize."""

STAYS_IN = {"t5": {"wo"}, "mt5": {"wo"}, "umt5": {"wo"}}
"""Model type → modules that transformers keeps in 32 bits."""

TIED_HEADS = {"cls.predictions.": "cls.predictions.decoder"}
"""Start of tensor names → an output embedding that may not be in the file."""

NUMBERED = re.compile(r"\.\d+\.")
EXPERT = re.compile(r"\.experts\.\d+\.")
METHOD_NAMES = {"nf4": "bitsandbytes", "fp4": "bitsandbytes", "int8": "bitsandbytes"}


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
        read: the bytes of a small tensor.

    Raises:
        InputError: a part is missing, or is not what the others say.
        UnsupportedError: a scheme is not understood.
    """
    config = config or {}
    section = config.get(CONFIG)
    said: Mapping[str, Any] = section if isinstance(section, dict) else {}
    weights: dict[str, Weight] = {}
    for name, spec in entries.items():
        if match := STATE.fullmatch(name):
            with at(tensor=name):
                tensor = match[1] + WEIGHT
                scheme, shape = _fourbit(parse_json(read(name)), match[2], spec, entries, tensor)
                weights[tensor] = _weight(tensor, scheme, shape, entries)
        elif name.endswith(".SCB"):
            tensor = name.removesuffix(".SCB") + WEIGHT
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_int8(tensor, entries, config, read), entries)
        elif name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in entries:
            tensor = name.removesuffix("_blocks")
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_mxfp4(spec, config), entries)
        elif name.endswith(".weight_packed") and said.get("quant_method") == "compressed-tensors":
            tensor = name.removesuffix(".weight_packed") + WEIGHT
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_compressed(tensor, entries, said, config, read), entries)
        elif name.endswith(".qweight") and said.get("quant_method") == "awq":
            tensor = name.removesuffix(".qweight") + WEIGHT
            with at(tensor=tensor):
                weights[tensor] = _weight(tensor, *_awq(tensor, spec, entries, said, config), entries)
        elif spec.dtype in FLOATS and name.endswith(WEIGHT) and any(key(name, role) in entries for role in FP8_SCALES):
            with at(tensor=name):
                weights[name] = _weight(name, *_fp8(name, spec, entries, config, said), entries)
    if _has_conv1d(config):
        weights = {tensor: _turned(weight) if _is_conv1d(tensor) else weight for tensor, weight in weights.items()}
    taken = {each for weight in weights.values() for each in weight.keys.values()}
    others = [name for name in entries if name not in taken]
    _refuse_foreign(others, said.get("quant_method"), bool(weights))
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
            there = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise InputError(
                f"is stored as {scheme.name}, for which {name} should be {part.dtype} {list(part.shape)}; found {there}",
                tensor=tensor,
                hint="the checkpoint is incomplete or damaged; download it again",
                code="E-QUANT",
            )
        keys[role] = name
    extras = {role: key(tensor, role) for role in EXTRAS if isinstance(scheme, FP8) and key(tensor, role) in entries}
    return Weight(scheme, shape, {**keys, **extras})


def _fourbit(state: Any, kind: str, spec: Spec, entries: Mapping[str, Spec], tensor: str) -> tuple[FourBit, tuple[int, ...]]:
    def need(holds: bool, what: str) -> None:
        if not holds:
            raise InputError(f"says {what}", hint="the checkpoint is damaged, or of a kind that is not known here", code="E-QUANT")

    need(isinstance(state, dict), "nothing: it is no object")
    shape, size, offset = state.get("shape"), state.get("blocksize"), state.get("nested_offset", 0.0)
    dtypes = {long: short for short, long in LONG_NAMES.items()}
    need(state.get("quant_type") == kind, f"quant_type {state.get('quant_type')!r}, and its name says {kind}")
    need(isinstance(size, int) and size in BLOCK_SIZES, f"blocksize {size!r}")
    need(isinstance(state.get("dtype"), str) and state["dtype"] in dtypes, f"dtype {state.get('dtype')!r}")
    need(isinstance(shape, list) and len(shape) > 0 and all(type(n) is int and 0 < n < 1 << 40 for n in shape), f"shape {shape!r}")
    nested = "nested_absmax" in "".join(state) or "nested_blocksize" in state
    if nested:
        need(state.get("nested_blocksize") == NESTED_BLOCK, f"nested_blocksize {state.get('nested_blocksize')!r}")
        need(state.get("nested_dtype") == "float32", f"nested_dtype {state.get('nested_dtype')!r}")
        need(isinstance(offset, int | float) and abs(offset) < LARGEST, f"nested_offset {offset!r}")
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
    args = [{name: group.get(name) for name in keys} for group in groups if isinstance(group, dict)]
    told = args[0] if args and all(each == args[0] for each in args) else {}
    size = told.get("group_size") if told.get("strategy") == "group" else 0
    known = told.get("type") == "int" and told.get("strategy") in ("group", "channel") and told.get("num_bits") in (4, 8)
    known = known and isinstance(size, int) and isinstance(told.get("symmetric"), bool)
    shape_key = key(tensor, "weight_shape")
    if not known or told.get("actorder") not in (None, "weight") or key(tensor, "weight_g_idx") in entries or shape_key not in entries:
        raise _foreign(f"compressed-tensors in a way ({said.get('format')}, {told or f'{len(args)} kinds of weights'})", tensor)
    width = 8 if entries[shape_key].dtype == "I64" else 4
    data = read(shape_key)
    shape = tuple(int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width))
    symmetric, bits = bool(told["symmetric"]), int(told["num_bits"] or 0)
    roles = ["weight_packed", "weight_scale", "weight_shape", *([] if symmetric else ["weight_zero_point"])]
    return Packed("compressed-tensors", _stored(tensor, roles, entries), bits, size or None, symmetric, _used_as(config)), shape


def _awq(
    tensor: str, spec: Spec, entries: Mapping[str, Spec], said: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Packed, tuple[int, ...]]:
    """AutoAWQ's GEMM layout: (in, out / 8) words of eight codes."""
    bits, size, asymmetric = said.get("bits", 4), said.get("group_size", 128), said.get("zero_point", True)
    if bits != 4 or str(said.get("version", "gemm")).lower() != "gemm" or len(spec.shape) != 2 or type(size) is not int or size <= 0:
        raise _foreign(f"AWQ in a way ({bits} bits, groups of {size}, {said.get('version')})", tensor)
    into, columns = spec.shape
    expected = {"scales": ("F16", (into // size, columns * 8)), "qzeros": ("I32", (into // size, columns))}
    roles = ["qweight", "scales", *(["qzeros"] if asymmetric else [])]
    stored = _stored(tensor, roles, entries)
    for role, part in stored:
        if spec.dtype != "I32" or into % size or (role in expected and part != expected[role]):
            raise InputError(f"is AWQ in groups of {size}, and its {role} is {part.dtype} {list(part.shape)}", code="E-QUANT")
    return Packed("awq", stored, bits, size, bool(not asymmetric), _used_as(config)), (columns * 8, into)


def _stored(tensor: str, roles: Iterable[str], entries: Mapping[str, Spec]) -> tuple[tuple[str, Part], ...]:
    missing = [key(tensor, role) for role in roles if key(tensor, role) not in entries]
    if missing:
        raise InputError(f"lacks {', '.join(missing)}", hint="the checkpoint is incomplete; download it again", code="E-QUANT")
    return tuple((role, Part(*entries[key(tensor, role)])) for role in roles)


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


def _has_conv1d(config: Mapping[str, Any]) -> bool:
    return str(config.get("model_type")) in CONV1D_TYPES


def _is_conv1d(tensor: str) -> bool:
    return tensor.removesuffix(WEIGHT).rpartition(".")[2] in CONV1D_MODULES


def _refuse_foreign(names: Iterable[str], method: Any, any_read: bool) -> None:
    for name in names:
        for end, what in FOREIGN.items():
            if name.endswith(end):
                raise _foreign(f"{what}{f' ({method})' if method else ''}", name)
    if not isinstance(method, str | None) or method not in READ_METHODS or (method is not None and not any_read):
        raise _foreign(str(method), None)


def _foreign(what: str, tensor: str | None) -> UnsupportedError:
    return UnsupportedError(
        f"is quantized with {what}, which is not read here",
        tensor=tensor,
        hint="use the 16-bit model it was made from, or dequantize it with its own library and save that",
    )


def convertible(layout: Mapping[str, Spec], config: Mapping[str, Any] | None) -> list[str]:
    """The weights that transformers replaces when it loads a model in 4 or 8 bits: those of Linear layers, and of GPT-2's Conv1D.

    Embeddings, output heads, routers and routed experts stay as they are: transformers holds the latter in one parameter
    for all, which is never quantized.
    """
    config = config or {}
    model_type, found = str(config.get("model_type")), []
    if model_type in OWN_LINEAR:
        return []
    stays = STAYS | STAYS_IN.get(model_type, set())
    for name, spec in layout.items():
        module = name.removesuffix(WEIGHT)
        parent, _, last = module.rpartition(".")
        matrix = name.endswith(WEIGHT) and len(spec.shape) == 2 and spec.dtype in LONG_NAMES
        vocabulary = spec.shape and spec.shape[0] == config.get("vocab_size") and not NUMBERED.search(name)
        inside = f"{parent}.in_proj_weight" in layout or HEAD in parent.split(".")  # of an attention of torch's own, or of a head
        if matrix and not vocabulary and not inside and last not in stays and not EXPERT.search(name):
            found.append(name)
    return found


def turned(name: str, config: Mapping[str, Any] | None) -> bool:
    """Whether the weight is stored as (in, out) in 16 bits, and as (out, in) when quantized."""
    return _has_conv1d(config or {}) and _is_conv1d(name)


def skipped(layout: Mapping[str, Spec], chosen: Iterable[str]) -> list[str]:
    """The modules to name as not quantized: all others that have a matrix, and the output embedding. Never an empty list,
    and never null: transformers then chooses by itself.

    Raises:
        VerificationError: transformers would take one of the chosen for one of these.
    """
    quantized = set(chosen)
    left = {
        EXPERT.split(name)[0] + ".experts" if EXPERT.search(name) else name.removesuffix(WEIGHT)
        for name, spec in layout.items()
        if name not in quantized and name.endswith(WEIGHT) and len(spec.shape) == 2
    }
    heads = {head for start, head in TIED_HEADS.items() if any(name.startswith(start) for name in layout)}
    skip = sorted({*left, *heads, HEAD})
    for name in quantized:
        module = name.removesuffix(WEIGHT)
        hit = next((entry for entry in skip if matches(entry, module)), None)
        if hit:
            raise VerificationError(
                f"would be taken for {hit}, which is not quantized: transformers matches ends of names", tensor=name, code="E-SKIP"
            )
    return skip


def matches(entry: str, module: str) -> bool:
    """How transformers applies an entry of llm_int8_skip_modules to a module.

    >>> matches("lm_head", "lm_head"), matches("model.layers.1", "model.layers.1.mlp"), matches("model.layers.1", "model.layers.10.mlp")
    (True, True, False)
    """
    return module.endswith(entry) or module == entry or module.startswith(entry + ".")


def described(config: Mapping[str, Any] | None, scheme: Scheme, skip: list[str]) -> dict[str, Any]:
    """config.json with what transformers needs to load the weights in `scheme`."""
    four = scheme.scheme if isinstance(scheme, Transposed) else scheme
    is_four = isinstance(four, FourBit)
    section = {
        "quant_method": "bitsandbytes",
        "load_in_4bit": is_four,
        "load_in_8bit": not is_four,
        "_load_in_4bit": is_four,
        "_load_in_8bit": not is_four,
        "bnb_4bit_quant_type": four.kind if isinstance(four, FourBit) else "fp4",
        "bnb_4bit_use_double_quant": isinstance(four, FourBit) and four.nested,
        "bnb_4bit_compute_dtype": LONG_NAMES[four.dtype] if is_four else "float32",
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": skip,
        "llm_int8_threshold": 6.0,
        "llm_int8_has_fp16_weight": False,
        "llm_int8_enable_fp32_cpu_offload": False,
    }
    return {**(config or {}), CONFIG: section}


def without(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """config.json of the same model in 16 or 32 bits."""
    return None if config is None else {name: value for name, value in config.items() if name != CONFIG}
