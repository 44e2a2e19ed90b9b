"""Weights in layouts that quantizers write, under the names and configs that they give them, and what they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from gptq_models import GPTQWeight
from safetensors.torch import save_file
from torch import Tensor

OUT, INTO = 256, 512
EMBEDDING = "model.embed_tokens"
Q, DOWN, HEAD = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj", "lm_head"
Weights = dict[str, Any]


class Layout(NamedTuple):
    """The tensors of each module by their roles, the section of config.json, and what the weights stand for."""

    modules: dict[str, dict[str, Tensor]]
    section: dict[str, Any]
    values: dict[str, Tensor]


def normal(seed: int = 0, out: int = OUT, into: int = INTO) -> Tensor:
    return torch.randn(out, into, generator=torch.Generator().manual_seed(seed)) * 0.05


def args(**fields: Any) -> Weights:
    return QuantizationArgs(**fields).model_dump(mode="json")


def compressed(
    said: Weights,
    layout: str,
    seed: int = 0,
    scale_dtype: torch.dtype = torch.bfloat16,
    shape: tuple[int, int] = (OUT, INTO),
) -> tuple[dict[str, Tensor], Tensor]:
    """One module as compressed-tensors compresses it, and what it decompresses to, scales in float32."""
    theirs = QuantizationArgs(**said)
    W, (out, into) = normal(seed, *shape), shape
    if theirs.strategy == "tensor":
        groups = W.reshape(1, 1, -1)
    elif theirs.strategy == "block":
        rows, columns = theirs.block_structure or (1, 1)
        high, wide = -(-out // rows), -(-into // columns)
        padded = torch.nn.functional.pad(W, (0, wide * columns - into, 0, high * rows - out))
        groups = padded.view(high, rows, wide, columns).transpose(1, 2).reshape(high, wide, -1)
    else:
        groups = W.view(out, -1, theirs.group_size or into)
    integers = theirs.type == "int"
    last = 2 ** (theirs.num_bits - 1) - 1 if integers else {4: 6, 8: 448}[theirs.num_bits]
    zero = None
    if theirs.symmetric:
        scale = groups.abs().amax(2) / last
    else:
        scale = (groups.amax(2) - groups.amin(2)) / (2 * last + 1)
        zero = (-last - 1 - groups.amin(2) / scale).round().to(torch.int8)
    if layout.startswith("mx"):
        scale = 2.0 ** scale.log2().ceil()
    scale = scale.to(scale_dtype)
    scale = scale.view(1) if theirs.strategy == "tensor" else scale
    scheme = QuantizationScheme(targets=["Linear"], weights=theirs)
    library = BaseCompressor.get_value_from_registry(layout)
    parts = {"weight": W, "weight_scale": scale} | ({"weight_zero_point": zero} if zero is not None else {})
    made = {role: part.contiguous() for role, part in library.compress(parts, scheme).items()}
    wide = {
        role: part.float() if role == "weight_scale" and part.is_floating_point() else part
        for role, part in made.items()
    }
    return made, library.decompress(wide, scheme)["weight"].float()


def section(layout: str, *groups: tuple[list[str], Weights], **fields: Any) -> dict[str, Any]:
    found = {f"group_{n}": {"targets": targets, "weights": said} for n, (targets, said) in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": found, "ignore": [HEAD], **fields}


def one(
    said: Weights,
    layout: str,
    scale: torch.dtype = torch.bfloat16,
    extra: dict[str, Tensor] | None = None,
    shape: tuple[int, int] = (OUT, INTO),
    **fields: Any,
) -> Layout:
    made, value = compressed(said, layout, scale_dtype=scale, shape=shape)
    return Layout({Q: {**made, **(extra or {})}}, section(layout, (["Linear"], said), **fields), {Q: value})


def mixed(first: tuple[list[str], Weights, str], second: tuple[list[str], Weights, str]) -> Layout:
    (a, one_value), (b, other_value) = compressed(*first[1:]), compressed(*second[1:], seed=1)
    said = section("mixed-precision", first[:2], second[:2])
    return Layout({Q: a, DOWN: b}, said, {Q: one_value, DOWN: other_value})


def fp8(
    scales: Tensor,
    block: tuple[int, int],
    role: str = "weight_scale_inv",
    kind: torch.dtype = torch.float8_e4m3fn,
    shape: tuple[int, int] = (OUT, INTO),
    extra: dict[str, Tensor] | None = None,
    **said: Any,
) -> Layout:
    """Bytes and scales, where each block of the weight has one; the value is taken block by block."""
    stored = (normal(0, *shape) * 2000).to(kind)
    numbers = scales.float() if scales.dtype != torch.uint8 else 2.0 ** (scales.float() - 127)
    across = -(-shape[1] // block[1])
    value, flat = stored.float(), numbers.reshape(-1)
    for begin in range(0, shape[0], block[0]):
        for left in range(0, shape[1], block[1]):
            own = flat[begin // block[0] * across + left // block[1]]
            value[begin : begin + block[0], left : left + block[1]] *= own
    return Layout({Q: {"weight": stored, role: scales, **(extra or {})}}, said, {Q: value})


def uniform(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(3)) + 0.5) / 2000


def gptq(bits: int, size: int, *, ordered: bool = False, offset: int = 1, **said: Any) -> Layout:
    weight = GPTQWeight.random(OUT, INTO, bits, size, ordered=ordered)
    fields = {"quant_method": "gptq", "bits": bits, "group_size": -1 if size == INTO else size, **said}
    return Layout({Q: weight.stored(offset)}, fields, {Q: weight.formula().float()})


def cut_off() -> Layout:
    """GPTQ of rows that are no whole number of groups."""
    random, into = torch.Generator().manual_seed(0), 320
    codes, zeros = (torch.randint(0, 16, (rows, OUT), generator=random) for rows in (into, 3))
    scales = (torch.rand(3, OUT, generator=random) + 0.5).half() / 64
    weight = GPTQWeight(codes, zeros, scales, torch.arange(into) // 128, 4)
    return Layout({Q: weight.stored()}, {"quant_method": "gptq", "bits": 4}, {Q: weight.formula().float()})


def by_class() -> Layout:
    """An embedding in 8 bits, which its class alone tells from the rest."""
    (a, one_value), (b, other_value) = compressed(W4, PACK), compressed(W8, PACK, seed=1)
    said = section(PACK, (["Linear"], W4), (["Embedding"], W8))
    return Layout({Q: a, EMBEDDING: b}, said, {Q: one_value, EMBEDDING: other_value})


def rotated(*locations: str) -> Layout:
    """With rotations, of which those of weights are in their numbers."""
    applied = [{"location": each, "targets": ["Linear"], "inverse": False} for each in locations]
    transforms = {"config_groups": {"R": {"type": "hadamard", "apply": applied}}}
    return one(W4, PACK, transform_config=transforms)


def dynamic() -> Layout:
    """GPTQModel's own config for some modules."""
    four, eight = GPTQWeight.random(OUT, INTO, 4, 128, ordered=False), GPTQWeight.random(OUT, INTO, 8, 32, ordered=True)
    rules = {"-:lm_head": {}, r"+:.*\.down_proj$": {"bits": 8, "group_size": 32, "desc_act": True}}
    said = {"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "gptq", "dynamic": rules}
    return Layout(
        {Q: four.stored(), DOWN: eight.stored()}, said, {Q: four.formula().float(), DOWN: eight.formula().float()}
    )


PACK, INTS, FLOATS, MX8 = "pack-quantized", "int-quantized", "float-quantized", "mxfp8-quantized"
W4 = args(num_bits=4, type="int", symmetric=True, strategy="group", group_size=128)
ASYMMETRIC = args(num_bits=4, type="int", symmetric=False, strategy="group", group_size=32)
W8 = args(num_bits=8, type="int", symmetric=True, strategy="channel")
W8_ZEROS = args(num_bits=8, type="int", symmetric=False, strategy="channel")
F8_ROW = args(num_bits=8, type="float", symmetric=True, strategy="channel")
F8_ONE = args(num_bits=8, type="float", symmetric=True, strategy="tensor")
F8_BLOCK = args(num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[128, 128])
F8_GROUP = args(num_bits=8, type="float", symmetric=True, strategy="group", group_size=32)
SCALAR = torch.tensor(0.25)
MX4 = args(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, scale_dtype="torch.uint8")
KV = {"k_scale": SCALAR, "v_scale": SCALAR}


def plain_zeros() -> Layout:
    """As versions wrote it that did not pack zero points."""
    layout = one(ASYMMETRIC, PACK)
    parts = layout.modules[Q]
    words = parts["weight_zero_point"].T.contiguous()
    codes = torch.stack([words >> 4 * place & 15 for place in range(8)], dim=2).view(len(words), -1).T
    return layout._replace(modules={Q: {**parts, "weight_zero_point": (codes - 8).to(torch.int8).contiguous()}})


def by_column() -> Layout:
    """Columns that were quantized in another order: each has its group in the file."""
    said = {**W4, "actorder": "group"}
    parts, _ = compressed(W4, PACK)
    order = torch.randperm(INTO, generator=torch.Generator().manual_seed(1)) // 128
    words, scale = parts["weight_packed"], parts["weight_scale"].float()
    codes = torch.stack([words >> 4 * place & 15 for place in range(8)], dim=2).view(OUT, -1) - 8
    value = torch.stack([codes[:, column] * scale[:, group] for column, group in enumerate(order.tolist())], dim=1)
    return Layout({Q: {**parts, "weight_g_idx": order.int()}}, section(PACK, (["Linear"], said)), {Q: value})


def write_layout(folder: Path, layout: Layout) -> Path:
    """In two files, of which the second has all scales."""
    folder.mkdir()
    tensors = {
        f"{module}.{role}": part.clone() for module, parts in layout.modules.items() for role, part in parts.items()
    }
    tensors |= {"model.norm.weight": torch.ones(4).bfloat16(), "lm_head.weight": torch.ones(8, 4).bfloat16()}
    tensors |= {f"{Q}.bias": torch.ones(len(layout.values[Q])).bfloat16()}
    second = {name: each for name, each in tensors.items() if name.endswith(("scale", "inv", "scales"))}
    first = {name: each for name, each in tensors.items() if name not in second}
    places = {}
    for number, part in enumerate((first, second), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    size = sum(each.nbytes for each in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"dtype": "bfloat16", "quantization_config": layout.section}))
    return folder


LAYOUTS = {
    "w4a16": lambda: one(W4, PACK),
    "w4a16 with scales in float16": lambda: one(W4, PACK, torch.float16),
    "w4a16 with scales in float32": lambda: one(W4, PACK, torch.float32),
    "w4a16 with static order": lambda: one({**W4, "actorder": "static"}, PACK),
    "w4a16 with orders by column": by_column,
    "w4a16 with zero points": lambda: one(ASYMMETRIC, PACK),
    "w4a16 with zero points in bytes": plain_zeros,
    "w4a16 of uneven rows": lambda: one(ASYMMETRIC, PACK, shape=(252, 480)),
    "w8a16 by row": lambda: one(W8, PACK),
    "w8a16 by row with zero points": lambda: one(W8_ZEROS, PACK),
    "w2a16": lambda: one({**W4, "num_bits": 2}, PACK),
    "w3a16": lambda: one({**W4, "num_bits": 3}, PACK),
    "w5a16 with zero points, of uneven rows": lambda: one({**ASYMMETRIC, "num_bits": 5}, PACK, shape=(252, 480)),
    "w6a16 with zero points": lambda: one({**ASYMMETRIC, "num_bits": 6}, PACK),
    "w4a16 in one": lambda: one({**W8, "num_bits": 4, "strategy": "tensor"}, PACK),
    "w4a16, and an embedding in 8 bits": by_class,
    "w4a16, rotated": lambda: rotated("weight_input", "weight_output"),
    "mxfp4 by row": lambda: one(MX4, "mxfp4-pack-quantized"),
    "w4 and w8 in two groups": lambda: mixed((["Linear"], W4, PACK), (["re:.*down_proj"], W8, PACK)),
    "w4 and fp8 in two groups": lambda: mixed((["re:.*self_attn.*"], F8_ROW, FLOATS), (["Linear"], W4, PACK)),
    "w4 and blocks of fp8": lambda: mixed((["re:.*q_proj$"], W4, PACK), ([DOWN], F8_BLOCK, FLOATS)),
    "w8a8": lambda: one(W8, INTS),
    "w8a8 with static inputs": lambda: one(
        W8, INTS, extra={"input_scale": SCALAR.view(1), "input_zero_point": torch.zeros(1).to(torch.int8)}
    ),
    "w8a8 with zero points": lambda: one(W8_ZEROS, INTS),
    "w8a8 in one": lambda: one({**W8, "strategy": "tensor"}, INTS),
    "w8a8 in groups": lambda: one({**W8, "strategy": "group", "group_size": 64}, INTS),
    "w4 in bytes": lambda: one(W4, INTS),
    "w4 in bytes, naive": lambda: one(ASYMMETRIC, "naive-quantized"),
    "fp8 by row": lambda: one(F8_ROW, FLOATS),
    "fp8 in one, with scales of the cache": lambda: one(
        F8_ONE, FLOATS, torch.float32, extra={"input_scale": SCALAR.view(1), **KV}, kv_cache_scheme=F8_ONE
    ),
    "fp8 in blocks": lambda: one(F8_BLOCK, FLOATS),
    "fp8 in uneven blocks": lambda: one(F8_BLOCK, FLOATS, shape=(200, 480)),
    "mxfp8": lambda: one({**F8_GROUP, "scale_dtype": "torch.uint8"}, MX8),
    "deepseek": lambda: fp8(
        uniform(2, 4),
        (128, 128),
        quant_method="fp8",
        weight_block_size=[128, 128],
        activation_scheme="dynamic",
        fmt="e4m3",
    ),
    "deepseek with powers of two": lambda: fp8(
        torch.full((2, 4), 116, dtype=torch.uint8),
        (128, 128),
        quant_method="fp8",
        weight_block_size=[128, 128],
        scale_fmt="ue8m0",
    ),
    "deepseek with scales in bfloat16": lambda: fp8(
        uniform(2, 4).bfloat16(),
        (128, 128),
        quant_method="fp8",
        weight_block_size=[128, 128],
        modules_to_not_convert=[HEAD],
    ),
    "uneven deepseek": lambda: fp8(
        uniform(3, 5), (128, 128), shape=(288, 520), quant_method="fp8", weight_block_size=[128, 128]
    ),
    "fbgemm": lambda: fp8(
        uniform(OUT, 1),
        (1, INTO),
        "weight_scale",
        extra={"input_scale_ub": SCALAR.view(1)},
        quant_method="fbgemm_fp8",
        activation_scale_ub=1200.0,
    ),
    "modelopt fp8": lambda: fp8(
        uniform(1).view(()),
        (OUT, INTO),
        "weight_scale",
        extra={"input_scale": SCALAR, **KV},
        quant_method="modelopt",
        quant_algo="FP8",
        kv_cache_quant_algo="FP8",
    ),
    "modelopt fp8 in blocks": lambda: fp8(
        uniform(2, 1, 4, 1), (128, 128), "weight_scale", quant_method="modelopt", quant_algo="FP8_PB_WO"
    ),
    "modelopt mxfp8": lambda: fp8(
        torch.full((OUT, INTO // 32), 116, dtype=torch.uint8),
        (1, 32),
        "weight_scale",
        quant_method="modelopt",
        quant_algo="MXFP8",
    ),
    "ministral": lambda: fp8(
        uniform(1).view(()),
        (OUT, INTO),
        extra={"activation_scale": SCALAR},
        quant_method="fp8",
        activation_scheme="static",
        weight_block_size=None,
    ),
    "fp8 in five bits of exponent": lambda: fp8(
        uniform(OUT), (1, INTO), "weight_scale", torch.float8_e5m2, quant_method="fp8"
    ),
    "gptq": lambda: gptq(4, 128, desc_act=False, sym=True),
    "gptq in another order": lambda: gptq(4, 128, ordered=True, desc_act=True, static_groups=False),
    "gptq v2": lambda: gptq(4, 64, offset=0, checkpoint_format="gptq_v2", sym=False),
    "gptq in 8 bits by row": lambda: gptq(8, INTO),
    "gptq in 3 bits": lambda: gptq(3, 128),
    "gptq, differing": dynamic,
    "gptq, the last group cut off": cut_off,
}
"""Those of other libraries are in `test_packed_models.py` and `quantized_models.py`."""
