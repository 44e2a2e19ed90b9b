"""Which tensors belong together, what is refused, and which modules transformers converts: by its own rules, on models without weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import bitsandbytes.functional as bnb
import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from codes import decode, encode, normal, raw
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from adapterops.errors import AdapterOpsError, InputError, UnsupportedError
from adapterops.formats.converted import TIED_HEADS, convertible, described, matches, skipped, without
from adapterops.formats.naming import conv1d
from adapterops.formats.quantized import Weight, quantized
from adapterops.quant.header import key
from adapterops.quant.fourbit import FourBit
from adapterops.quant.fp8 import FP8
from adapterops.quant.int8 import Int8
from adapterops.quant.mxfp4 import MXFP4
from adapterops.quant.compressed import Compressed
from adapterops.quant.scheme import Scheme
from adapterops.quant.transposed import Transposed
from adapterops.storage.safetensors import Spec

SHORT = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e8m0fnu: "F8_E8M0",
}
NAME = "model.layers.0.mlp.up_proj.weight"
STATE = f"{NAME}.quant_state.bitsandbytes__nf4"
SHAPE = (6, 96)

Tensors = dict[str, Tensor]


def specs(tensors: Tensors) -> dict[str, Spec]:
    return {name: Spec(SHORT[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}


def recognised(tensors: Tensors, **config: Any) -> tuple[dict[str, Weight], list[str]]:
    return quantized(specs(tensors), config, lambda name: raw(tensors[name]).numpy().tobytes())


def laid(scheme: Scheme, name: str = NAME, shape: tuple[int, int] = SHAPE) -> Tensors:
    """The tensors that a weight is stored as."""
    found = encode(scheme.encoder(shape), normal(0, *shape))
    return {key(name, role): found[role].view(part.shape) for role, part in scheme.parts(shape).items()}


def text(tensors: Tensors, name: str = STATE) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(bytes(raw(tensors[name])))
    return state


def restated(tensors: Tensors, name: str = STATE, **fields: Any) -> Tensors:
    """With fields of the state changed, or taken away where they are None."""
    state = {field: value for field, value in {**text(tensors, name), **fields}.items() if value is not None}
    return {**tensors, name: torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}


# What is known


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("size", [32, 64, 4096])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_four_bits_are_known_by_their_state(kind: str, nested: bool, size: int, dtype: str) -> None:
    scheme = FourBit(kind, size, nested, dtype)
    weights, others = recognised({**laid(scheme), "model.norm.weight": torch.ones(3)})
    assert others == ["model.norm.weight"]
    assert weights[NAME].scheme == scheme
    assert weights[NAME].shape == SHAPE
    assert weights[NAME].keys == {role: key(NAME, role) for role in scheme.parts(SHAPE)}


def test_the_offset_of_nested_scales_is_that_of_the_state() -> None:
    tensors = laid(FourBit(nested=True))
    scheme = recognised(tensors)[0][NAME].scheme
    assert isinstance(scheme, FourBit)
    assert scheme.offset == text(tensors)["nested_offset"] != 0


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_what_bitsandbytes_stores_is_read(nested: bool, storage: torch.dtype) -> None:
    W = normal(1, 16, 64).bfloat16()
    packed, state = bnb.quantize_4bit(W, quant_type="nf4", compress_statistics=nested, quant_storage=storage)
    for stored in (packed, packed.view(1, -1)):  # older versions wrote it the other way round
        tensors = {NAME: stored, **{f"{NAME}.{role}": part for role, part in state.as_dict(packed=True).items()}}
        weight = recognised(tensors)[0][NAME]
        assert weight.shape == (16, 64)
        found = decode(weight.scheme, weight.shape, {role: tensors[name] for role, name in weight.keys.items()})
        torch.testing.assert_close(found, bnb.dequantize_4bit(packed.view(torch.uint8), state), rtol=2**-8, atol=0)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize(("config", "dtype"), [({}, "BF16"), ({"dtype": "float16"}, "F16"), ({"torch_dtype": "float32"}, "F32")])
def test_int8_is_known_by_its_scales(marked: bool, config: dict[str, str], dtype: str) -> None:
    weights, others = recognised(laid(Int8(dtype, marked)), **config)
    assert (weights[NAME].scheme, weights[NAME].shape, others) == (Int8(dtype, marked), SHAPE, [])


def test_conv1d_is_known_by_its_model_type() -> None:
    name = "transformer.h.0.attn.c_attn.weight"
    weights, _ = recognised({**laid(FourBit(), name, (96, 32)), **laid(FourBit(), "transformer.other.weight")}, model_type="gpt2")
    assert weights[name].scheme == Transposed(FourBit())
    assert weights[name].shape == (32, 96)
    assert weights["transformer.other.weight"].scheme == FourBit()
    assert conv1d(name, {"model_type": "gpt2"})
    assert not conv1d(name, {"model_type": "llama"})
    assert recognised(laid(FourBit(), name, (96, 32)), model_type="llama")[0][name].scheme == FourBit()


def fp8(shape: tuple[int, int] = (300, 200), scales: tuple[int, ...] = (3, 2), role: str = "weight_scale_inv") -> Tensors:
    return {NAME: normal(2, *shape).to(torch.float8_e4m3fn), key(NAME, role): torch.ones(scales)}


BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}


@pytest.mark.parametrize(
    ("scales", "config", "block"),
    [
        ((3, 2), BLOCKS, (128, 128)),
        ((), {}, (300, 200)),
        ((1,), {}, (300, 200)),
        ((300,), {}, (1, 200)),
        ((300, 1), {}, (1, 200)),
        ((300, 1), BLOCKS, (1, 200)),
        ((150, 3), {"quantization_config": {"quant_method": "fp8", "weight_block_size": [2, 99]}}, (2, 99)),
    ],
    ids=str,
)
def test_fp8_is_known_by_the_shape_of_its_scales(scales: tuple[int, ...], config: dict[str, Any], block: tuple[int, int]) -> None:
    scheme = recognised(fp8(scales=scales), **config)[0][NAME].scheme
    assert isinstance(scheme, FP8)
    assert scheme.block == block


@pytest.mark.parametrize("role", ["weight_scale_inv", "weight_scale", "scale", "qscale_weight"])
def test_scales_of_activations_go_along(role: str) -> None:
    tensors = {**fp8(scales=(), role=role), key(NAME, "input_scale"): torch.ones(())}
    weights, others = recognised(tensors)
    assert set(weights[NAME].keys.values()) == set(tensors)
    assert others == []


def mxfp4(name: str = "model.layers.0.mlp.experts.gate_up_proj") -> Tensors:
    return {f"{name}_blocks": torch.zeros(2, 8, 3, 16, dtype=torch.uint8), f"{name}_scales": torch.zeros(2, 8, 3, dtype=torch.uint8)}


def test_mxfp4_is_known_by_its_blocks() -> None:
    bias = {"model.layers.0.mlp.experts.gate_up_proj_bias": torch.zeros(2, 8)}
    weights, others = recognised({**mxfp4(), **bias})
    weight = weights["model.layers.0.mlp.experts.gate_up_proj"]
    assert (weight.scheme, weight.shape, others) == (MXFP4(), (2, 96, 8), list(bias))


def test_a_checkpoint_without_codes_has_none() -> None:
    tensors = {NAME: torch.ones(3, 4), "steps": torch.ones((), dtype=torch.int8)}
    assert recognised(tensors) == ({}, list(tensors))
    assert quantized(specs(tensors), None, lambda name: b"") == ({}, list(tensors))


# What is broken

PLAIN, NESTED = laid(FourBit()), laid(FourBit(nested=True))
PLAIN_STATE = bytes(PLAIN[STATE])


def absent(tensors: Tensors, role: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != key(NAME, role)}


def other(tensors: Tensors, role: str, tensor: Tensor) -> Tensors:
    return {**tensors, key(NAME, role): tensor}


def said(content: bytes) -> Tensors:
    return {**PLAIN, STATE: torch.tensor(list(content), dtype=torch.uint8)}


BROKEN: dict[str, tuple[Tensors, str]] = {
    "no weight": (absent(PLAIN, "weight"), rf"{NAME} should be U8 \[288, 1\]; found nothing"),
    "no absmax": (absent(PLAIN, "weight.absmax"), r"weight.absmax should be F32 \[9\]; found nothing"),
    "no table": (absent(PLAIN, "weight.quant_map"), r"weight.quant_map should be F32 \[16\]; found nothing"),
    "no nested absmax": (absent(NESTED, "weight.nested_absmax"), r"nested_absmax should be F32 \[1\]; found nothing"),
    "no nested table": (absent(NESTED, "weight.nested_quant_map"), r"nested_quant_map should be F32 \[256\]; found nothing"),
    "absmax in 16 bits": (other(PLAIN, "weight.absmax", torch.ones(9).half()), r"should be F32 \[9\]; found F16 \[9\]"),
    "absmax in 8 bits": (other(PLAIN, "weight.absmax", torch.ones(9).byte()), r"should be F32 \[9\]; found U8 \[9\]"),
    "nested absmax in 32 bits": (other(NESTED, "weight.absmax", torch.ones(9)), r"should be U8 \[9\]; found F32 \[9\]"),
    "too few blocks": (other(PLAIN, "weight.absmax", torch.ones(8)), r"should be F32 \[9\]; found F32 \[8\]"),
    "another shape of absmax": (other(PLAIN, "weight.absmax", torch.ones(9, 1)), r"should be F32 \[9\]; found F32 \[9, 1\]"),
    "too few nested blocks": (other(NESTED, "weight.nested_absmax", torch.ones(2)), r"should be F32 \[1\]; found F32 \[2\]"),
    "a small table": (other(PLAIN, "weight.quant_map", torch.ones(15)), r"should be F32 \[16\]; found F32 \[15\]"),
    "codes cut off": (other(PLAIN, "weight", torch.ones(287, 1).byte()), r"should be U8 \[288, 1\]; found U8 \[287, 1\]"),
    "codes of another dtype": (other(PLAIN, "weight", torch.ones(288, 1).to(torch.int8)), "nothing of a weight in I8"),
    "an uncoded weight": (other(PLAIN, "weight", torch.ones(SHAPE)), r"should be F32 \[72, 1\]; found F32 \[6, 96\]"),
    "a state of floats": ({**PLAIN, STATE: PLAIN[STATE].float()}, "not UTF-8|not JSON"),
    "a state of nothing": (said(b""), "not JSON"),
    "a state that is cut off": (said(bytes(PLAIN[STATE])[:-5]), "not JSON"),
    "a state of bytes": (said(b"\xff\xfe"), "not UTF-8"),
    "a list for a state": (said(b"[]"), "no object"),
    "a state that says a thing twice": (said(b'{"shape": [6, 96], "shape": [6, 96]}'), "appears twice"),
    "an empty state": (said(b"{}"), "quant_type None"),
    "another kind": (restated(PLAIN, quant_type="fp4"), "quant_type 'fp4', and its name says nf4"),
    "a kind that is none": (restated(PLAIN, quant_type=4), "quant_type 4"),
    "no block size": (restated(PLAIN, blocksize=None), "blocksize None"),
    "an unknown block size": (restated(PLAIN, blocksize=96), "blocksize 96"),
    "a negative block size": (restated(PLAIN, blocksize=-64), "blocksize -64"),
    "a block size of text": (restated(PLAIN, blocksize="64"), "blocksize '64'"),
    "another block size": (restated(PLAIN, blocksize=128), r"should be F32 \[5\]; found F32 \[9\]"),
    "an unknown dtype": (restated(PLAIN, dtype="float64"), "dtype 'float64'"),
    "a dtype that is none": (restated(PLAIN, dtype=["bfloat16"]), "dtype"),
    "no shape": (restated(PLAIN, shape=None), "shape None"),
    "an empty shape": (restated(PLAIN, shape=[]), r"shape \[\]"),
    "a negative shape": (restated(PLAIN, shape=[-6, -96]), r"shape \[-6, -96\]"),
    "a shape of fractions": (restated(PLAIN, shape=[6.0, 96.0]), r"shape \[6.0, 96.0\]"),
    "a huge shape": (restated(PLAIN, shape=[6, 2**40]), "shape"),
    "another shape": (restated(PLAIN, shape=[6, 98]), r"should be U8 \[294, 1\]; found U8 \[288, 1\]"),
    "nested blocks of another size": (restated(NESTED, nested_blocksize=128), "nested_blocksize 128"),
    "nested scales of another dtype": (restated(NESTED, nested_dtype="float16"), "nested_dtype 'float16'"),
    "an offset of text": (restated(NESTED, nested_offset="0.1"), "nested_offset '0.1'"),
    "a huge offset": (restated(NESTED, nested_offset=10**400), "nested_offset"),
    "no offset": (restated(NESTED, nested_offset=None), "nested_offset None"),
    "an offset of a list": (restated(NESTED, nested_offset=[1]), "nested_offset"),
    "an offset of truth": (restated(NESTED, nested_offset=True), "nested_offset True"),
    "a huge state": (said(PLAIN_STATE + b" " * (1 << 16)), "expected at most 65536"),
    "an infinite offset": (said(b'{"nested_offset": Infinity}'), "Infinity"),
    "an offset beyond floats": (said(bytes(NESTED[STATE]).replace(b'_offset": ', b'_offset": 1e999')), "nested_offset|not JSON"),
    "no nested fields for nested parts": (restated(NESTED, nested_blocksize=None, nested_dtype=None), r"should be F32 \[9\]; found U8"),
    "nested fields for plain parts": (
        restated(PLAIN, nested_blocksize=256, nested_dtype="float32", nested_offset=0.0),
        r"should be U8 \[9\]; found F32 \[9\]",
    ),
}


@pytest.mark.parametrize(("tensors", "words"), BROKEN.values(), ids=BROKEN)
def test_four_bits_that_are_broken(tensors: Tensors, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        recognised(tensors)
    assert caught.value.exit_code == 3
    assert caught.value.tensor
    assert caught.value.tensor.startswith(NAME)


@pytest.mark.parametrize("offset", ["abc", [1], 10**400])
def test_the_offset_of_scales_that_are_not_nested_has_no_say(offset: Any) -> None:
    assert recognised(restated(PLAIN, nested_offset=offset))[0][NAME].scheme == FourBit()


EIGHT = laid(Int8())
BROKEN_EIGHT: dict[str, tuple[Tensors, type[AdapterOpsError], str]] = {
    "no weight": (absent(EIGHT, "weight"), InputError, "no weight of two dimensions"),
    "a weight of one dimension": (other(EIGHT, "weight", torch.ones(6).to(torch.int8)), InputError, "no weight of two dimensions"),
    "a weight in 16 bits": (other(EIGHT, "weight", torch.ones(SHAPE).half()), InputError, r"should be I8 \[6, 96\]; found F16"),
    "scales in 16 bits": (other(EIGHT, "SCB", torch.ones(6).half()), InputError, r"should be F32 \[6\]; found F16 \[6\]"),
    "too few scales": (other(EIGHT, "SCB", torch.ones(5)), InputError, r"should be F32 \[6\]; found F32 \[5\]"),
    "scales for columns": (other(EIGHT, "SCB", torch.ones(96)), InputError, r"should be F32 \[6\]; found F32 \[96\]"),
    "another layout": (other(EIGHT, "weight_format", torch.ones((), dtype=torch.uint8)), UnsupportedError, "another layout"),
    "a layout of two numbers": (other(EIGHT, "weight_format", torch.zeros(2, dtype=torch.uint8)), UnsupportedError, "another layout"),
    "a huge layout": (other(EIGHT, "weight_format", torch.zeros(1 << 17, dtype=torch.uint8)), InputError, "expected at most 65536"),
    "a layout in 32 bits": (other(EIGHT, "weight_format", torch.zeros(())), UnsupportedError, "another layout"),
}


@pytest.mark.parametrize(("tensors", "kind", "words"), BROKEN_EIGHT.values(), ids=BROKEN_EIGHT)
def test_int8_that_is_broken(tensors: Tensors, kind: type[AdapterOpsError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        recognised(tensors)
    assert caught.value.tensor in (NAME, key(NAME, "weight_format"))


FP8S: dict[str, tuple[Tensors, dict[str, Any], str]] = {
    "two scales": ({**fp8(), key(NAME, "weight_scale"): torch.ones(())}, BLOCKS, "2 tensors of scales"),
    "blocks of which nobody says the size": (fp8(), {}, "fit no known layout"),
    "blocks of another size": (fp8(scales=(2, 2)), BLOCKS, "fit no known layout"),
    "a scale for each column": (fp8(scales=(200,)), {}, "fit no known layout"),
    "a size of blocks that is none": (
        fp8(),
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 0]}},
        "no known layout",
    ),
    "a size of blocks in three dimensions": (fp8(), {"quantization_config": {"weight_block_size": [1, 128, 128]}}, "no known layout"),
    "scales in integers": ({**fp8(scales=(1,)), key(NAME, "weight_scale_inv"): torch.ones(1).int()}, {}, "scales in I32"),
    "experts in one tensor": (
        {NAME: torch.ones(2, 8, 8).to(torch.float8_e4m3fn), key(NAME, "weight_scale"): torch.ones(2)},
        {},
        r"3 dimensions",
    ),
}


@pytest.mark.parametrize(("tensors", "config", "words"), FP8S.values(), ids=FP8S)
def test_fp8_that_is_not_understood(tensors: Tensors, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words) as caught:
        recognised(tensors, **config)
    assert caught.value.tensor == NAME


@pytest.mark.parametrize(
    "scales",
    [torch.zeros(2, 8, 2, dtype=torch.uint8), torch.zeros(2, 8, 3), torch.zeros(8, 2, 3, dtype=torch.uint8)],
    ids=lambda x: str(x.shape),
)
def test_mxfp4_that_is_broken(scales: Tensor) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    with pytest.raises(InputError, match=r"_scales should be U8 \[2, 8, 3\]") as caught:
        recognised({**mxfp4(), f"{name}_scales": scales})
    assert caught.value.tensor == name
    with pytest.raises(InputError, match="expected \\(experts, rows, blocks, 16\\)"):
        recognised({**mxfp4(), f"{name}_blocks": torch.zeros(2, 8, 48, dtype=torch.uint8)})


# What is foreign

INTEGERS = torch.ones(4, 4, dtype=torch.int32)
FOREIGN: dict[str, tuple[dict[str, Tensor], str]] = {
    "gptq": ({"qweight": INTEGERS, "qzeros": INTEGERS, "scales": torch.ones(4, 4).half(), "g_idx": INTEGERS}, "GPTQ or AWQ"),
    "awq": ({"qweight": INTEGERS, "qzeros": INTEGERS, "scales": torch.ones(4, 4).half()}, "GPTQ or AWQ"),
    "auto-round": ({"qweight": INTEGERS, "qzeros": INTEGERS}, "GPTQ or AWQ"),
    "compressed-tensors": (
        {"weight_packed": INTEGERS, "weight_scale": torch.ones(4, 1), "weight_shape": INTEGERS[0]},
        "compressed-tensors",
    ),
    "modelopt": ({"weight": INTEGERS.byte(), "weight_scale": torch.ones(4, 1), "weight_scale_2": torch.ones(())}, "NVFP4"),
    "hqq": ({"W_q": INTEGERS.byte(), "meta": INTEGERS}, "HQQ"),
    "aqlm": ({"codes": INTEGERS, "codebooks": torch.ones(1, 4), "scales": torch.ones(4)}, "AQLM"),
    "spqr": ({"dense_weights": INTEGERS}, "SpQR"),
}


@pytest.mark.parametrize("method", FOREIGN)
@pytest.mark.parametrize("told", [True, False], ids=["said by the config", "of which the config says nothing"])
def test_other_formats_are_refused_by_their_name(method: str, told: bool) -> None:
    parts, name = FOREIGN[method]
    tensors = {f"model.layers.0.mlp.up_proj.{role}": tensor for role, tensor in parts.items()}
    section = {"quant_method": method, "version": "gemv", "format": "mxfp4-pack-quantized"}
    with pytest.raises(UnsupportedError, match=f"quantized with {'AWQ' if method == 'awq' and told else name}.* not read here") as caught:
        recognised(tensors, **({"quantization_config": section} if told else {}))
    assert caught.value.tensor
    assert caught.value.tensor.startswith("model.layers.0.mlp.up_proj.")
    assert method in str(caught.value).lower() or not told


def awq() -> Tensors:
    """Four inputs, 32 outputs, one group."""
    words = torch.ones(4, 4, dtype=torch.int32)
    return {key(NAME, "qweight"): words, key(NAME, "qzeros"): words[:1], key(NAME, "scales"): torch.ones(1, 32).half()}


PACKED_WRONG: dict[str, tuple[Tensors, Any]] = {
    "no zeros": ({name: tensor for name, tensor in awq().items() if "qzeros" not in name}, {"group_size": 4}),
    "no scales": ({name: tensor for name, tensor in awq().items() if "scales" not in name}, {"group_size": 4}),
    "scales of another shape": ({**awq(), key(NAME, "scales"): torch.ones(1, 31).half()}, {"group_size": 4}),
    "zeros of another dtype": ({**awq(), key(NAME, "qzeros"): torch.ones(1, 4)}, {"group_size": 4}),
    "too few groups": (awq(), {"group_size": 2}),
    "groups of nothing": (awq(), {"group_size": 0}),
    "groups of text": (awq(), {"group_size": "4"}),
    "groups of truth": (awq(), {"group_size": True}),
    "groups of fractions": (awq(), {"group_size": 4.0}),
    "groups that do not divide": (awq(), {"group_size": 3}),
    "words of another dtype": ({**awq(), key(NAME, "qweight"): torch.ones(4, 4)}, {"group_size": 4}),
    "words of one dimension": ({**awq(), key(NAME, "qweight"): torch.ones(16, dtype=torch.int32)}, {"group_size": 4}),
    "no words": ({**awq(), key(NAME, "qweight"): torch.ones(0, 4, dtype=torch.int32)}, {"group_size": 4}),
    "bits of fractions": (awq(), {"group_size": 4, "bits": 4.0}),
    "zero points that are none": (awq(), {"group_size": 4, "zero_point": "no"}),
    "other bits": (awq(), {"group_size": 4, "bits": 3}),
    "another version": (awq(), {"group_size": 4, "version": "marlin"}),
    "a version that is none": (awq(), {"group_size": 4, "version": None}),
}


@pytest.mark.parametrize(("tensors", "section"), PACKED_WRONG.values(), ids=PACKED_WRONG)
def test_awq_that_is_broken_or_not_understood(tensors: Tensors, section: Any) -> None:
    with pytest.raises((InputError, UnsupportedError)) as caught:
        recognised(tensors, quantization_config={"quant_method": "awq", **section})
    assert caught.value.tensor == NAME


def packed(bits: int = 4, **roles: Tensor) -> Tensors:
    """64 outputs, 256 inputs, groups of 128."""
    parts = {
        "weight_packed": torch.ones(64, 8 * bits, dtype=torch.int32),
        "weight_scale": torch.ones(64, 2).half(),
        "weight_shape": torch.tensor([64, 256]),
        "weight_zero_point": torch.ones(2 * bits, 2, dtype=torch.int32),
    }
    return {key(NAME, role): part for role, part in {**parts, **roles}.items()}


def weights_said(**fields: Any) -> dict[str, Any]:
    weights = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 128, **fields}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


CHANNELS = {"weight_scale": torch.ones(64, 1), "weight_zero_point": torch.ones(8, 1, dtype=torch.int32)}


@pytest.mark.parametrize("scales", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("lengths", [torch.int32, torch.int64])
def test_packed_codes_are_known_by_the_config(scales: torch.dtype, lengths: torch.dtype) -> None:
    tensors = packed(weight_scale=torch.ones(64, 2).to(scales), weight_shape=torch.tensor([64, 256], dtype=lengths))
    weights, others = recognised(tensors, quantization_config=weights_said())
    assert (weights[NAME].shape, set(weights[NAME].keys.values()), others) == ((64, 256), set(tensors), [])


@pytest.mark.parametrize("size", [None, -1])
def test_packed_codes_with_a_scale_for_each_row(size: int | None) -> None:
    weight = recognised(packed(**CHANNELS), quantization_config=weights_said(strategy="channel", group_size=size))[0][NAME]
    assert isinstance(weight.scheme, Compressed)
    assert weight.scheme.group == 256


LENGTHS: list[Any] = [[], [64], [0, 256], [-1, 256], [64, 16, 16], [256, 64], [32, 256], [64, 255], [64, 100], [1 << 40, 1 << 20]]
PACKED_BROKEN: dict[str, tuple[dict[str, Tensor], dict[str, Any], str]] = {
    **{f"of {lengths}": ({"weight_shape": torch.tensor(lengths, dtype=torch.int64)}, {}, "expected|should be") for lengths in LENGTHS},
    "a shape in 16 bits": ({"weight_shape": torch.tensor([64, 256], dtype=torch.int16)}, {}, r"in I64 or I32; found I16 \[2\]"),
    "a shape of floats": ({"weight_shape": torch.tensor([64.0, 256.0])}, {}, r"in I64 or I32; found F32 \[2\]"),
    "a huge shape": ({"weight_shape": torch.ones(1 << 14).long()}, {}, r"found I64 \[16384\]"),
    "one dimension": ({"weight_packed": INTEGERS.view(-1)}, {}, r"should be I32 \[64, 32\]; found I32 \[16\]"),
    "too few words": ({"weight_packed": torch.ones(64, 5).int()}, {}, r"should be I32 \[64, 32\]; found I32 \[64, 5\]"),
    "wide words": ({"weight_packed": torch.ones(64, 32).long()}, {}, r"should be I32 \[64, 32\]; found I64"),
    "words of floats": ({"weight_packed": torch.ones(64, 32)}, {}, r"should be I32 \[64, 32\]; found F32"),
    "scales of integers": ({"weight_scale": torch.ones(64, 2).to(torch.int8)}, {}, r"should be BF16 \[64, 2\]; found I8"),
    "scales for rows": ({"weight_scale": torch.ones(64, 1)}, {}, r"should be F32 \[64, 2\]; found F32 \[64, 1\]"),
    "scales turned": ({"weight_scale": torch.ones(2, 64)}, {}, r"should be F32 \[64, 2\]; found F32 \[2, 64\]"),
    "too few scales": ({"weight_scale": torch.ones(32, 2)}, {}, r"should be F32 \[64, 2\]; found F32 \[32, 2\]"),
    "too few zero points": ({"weight_zero_point": torch.ones(1, 2).int()}, {}, r"should be I32 \[8, 2\]; found I32 \[1, 2\]"),
    "zero points in bytes": ({"weight_zero_point": torch.ones(8, 2).byte()}, {}, r"should be I32 \[8, 2\]; found U8"),
    "other bits": ({}, {"num_bits": 8}, r"should be I32 \[64, 64\]; found I32 \[64, 32\]"),
    "bits of fractions": ({}, {"num_bits": 4.0}, "4.0 bits"),
    "zero points that are not said": ({}, {"symmetric": True}, "weight_packed with zero points is missing"),
    "groups for rows": (CHANNELS, {"strategy": "channel", "group_size": 128}, r"should be F32 \[64, 2\]"),
    **{f"groups of {size!r}": ({}, {"group_size": size}, f"groups of {size!r} ") for size in (0, -1, 3, True, None, "128", 128.0, [128])},
    "half the groups": ({}, {"group_size": 64}, r"should be F16 \[64, 4\]; found F16 \[64, 2\]"),
}


@pytest.mark.parametrize(("roles", "fields", "words"), PACKED_BROKEN.values(), ids=PACKED_BROKEN)
def test_packed_codes_that_are_broken(roles: dict[str, Tensor], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words) if "[128]" in words else words) as caught:
        recognised(packed(**roles), quantization_config=weights_said(**fields))
    assert caught.value.code == "E-QUANT"
    assert (caught.value.tensor or "").startswith(NAME.removesuffix(".weight"))


@pytest.mark.parametrize("role", ["weight_packed", "weight_scale", "weight_shape", "weight_zero_point"])
def test_packed_codes_of_which_a_part_is_missing(role: str) -> None:
    with pytest.raises(InputError, match=r"missing|nothing") as caught:
        recognised(absent(packed(), role), quantization_config=weights_said())
    assert caught.value.code == "E-QUANT"


@pytest.mark.parametrize(
    "groups", [None, [], "all", {"group_0": None}, {"group_0": {"weights": [4]}}, {"a": {"weights": {"type": ["int"]}}}], ids=str
)
def test_packed_tensors_of_which_the_config_says_nothing_useful(groups: Any) -> None:
    tensors = {
        key(NAME, "weight_packed"): INTEGERS,
        key(NAME, "weight_scale"): torch.ones(4, 1),
        key(NAME, "weight_shape"): INTEGERS[0, :2],
    }
    with pytest.raises(UnsupportedError, match="compressed-tensors") as caught:
        recognised(tensors, quantization_config={"quant_method": "compressed-tensors", "config_groups": groups})
    assert caught.value.tensor == NAME


@pytest.mark.parametrize("method", ["gptq", "torchao", "quanto", "eetq", "higgs", "vptq", "bitnet", "aqlm", "something new"])
@pytest.mark.parametrize("codes", [True, False], ids=["beside codes that are known", "alone"])
def test_other_methods_are_refused_by_their_name(method: str, codes: bool) -> None:
    tensors = {"model.norm.weight": torch.ones(3), **(PLAIN if codes else {})}
    with pytest.raises(UnsupportedError, match=f"quantized with {method}, which is not read here"):
        recognised(tensors, quantization_config={"quant_method": method})


def test_codes_that_a_config_tells_of_and_that_are_not_there() -> None:
    with pytest.raises(UnsupportedError, match="bitsandbytes"):
        recognised({NAME: torch.ones(3, 4)}, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


@pytest.mark.parametrize("section", [None, {}, [], "nf4", {"load_in_4bit": True}, {"quant_method": "fp8"}])
def test_codes_are_known_whatever_a_config_says(section: Any) -> None:
    assert recognised(PLAIN, quantization_config=section)[0][NAME].scheme == FourBit()


@pytest.mark.parametrize(
    "config",
    [{"quantization_config": {"quant_method": ["bitsandbytes"]}}, {"model_type": ["gpt2"]}, {"dtype": ["bfloat16"]}, {"dtype": {}}],
    ids=str,
)
def test_a_config_of_other_types_is_refused_or_has_no_say(config: dict[str, Any]) -> None:
    with suppress(UnsupportedError):
        assert recognised(PLAIN, **config)[0][NAME].scheme == FourBit()


# What transformers converts

COMPONENTS = ["model", "layers", "1", "11", "mlp", "gate", "proj", "up", "fc1", "lm", "head"]
NAMES = st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=4).map(".".join)


@examples(max_examples=200)
@given(NAMES, NAMES, st.data())
def test_an_entry_of_the_skip_list_means_what_transformers_takes_it_for(module: str, entry: str, data: st.DataObject) -> None:
    pieces = module.split(".")
    begin = data.draw(st.integers(0, len(pieces) - 1))
    end = data.draw(st.integers(begin + 1, len(pieces)))
    for each in (entry, ".".join(pieces[begin:end]), module, f"{module}.{entry}", module[begin:], entry[1:].strip(".") or entry):
        of_5 = not should_convert_module(module, [each])
        of_4 = module.rpartition(".")[2] == each or module == each or f"{each}." in module
        assert matches(each, module) == (of_4 or of_5), each


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 160}
GROUPED = {**SIZES, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 8}
OLD = {"n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 160}
MOE = {**HEADS, "moe_intermediate_size": 16}
LATENT = {
    **SIZES, "num_key_value_heads": 4, "n_routed_experts": 4, "moe_intermediate_size": 16, "first_k_dense_replace": 0,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8, "n_group": 1,
    "topk_group": 1, "num_experts_per_tok": 2,
}  # fmt: skip
SSM = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 160, "state_size": 4}
SEEN = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "patch_size": 4, "image_size": 16}
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
CLIP = {"model_type": "clip_vision_model", "projection_dim": 16, **SEEN}

MODELS: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "Mistral": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": HEADS,
    "Gemma": HEADS,
    "Gemma2": HEADS,
    "Gemma3Text": HEADS,
    "Phi": SIZES,
    "Phi3": {**GROUPED, "pad_token_id": 0},
    "GPT2": OLD,
    "GPTJ": {**OLD, "rotary_dim": 4},
    "GPTNeo": {"hidden_size": 32, "num_layers": 1, "num_heads": 4, "vocab_size": 160, "attention_types": [[["global"], 1]]},
    "GPTNeoX": SIZES,
    "GPTBigCode": OLD,
    "OPT": {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 16},
    "Bloom": {"hidden_size": 32, "n_layer": 1, "n_head": 4, "vocab_size": 160},
    "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 1, "vocab_size": 160},
    "Starcoder2": GROUPED,
    "StableLm": GROUPED,
    "Cohere": GROUPED,
    "Olmo2": GROUPED,
    "Granite": GROUPED,
    "Glm4": {**HEADS, "pad_token_id": 0},
    "SmolLM3": {**GROUPED, "pad_token_id": 0},
    "Qwen2Moe": {**GROUPED, "num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "Qwen3Moe": {**MOE, "num_experts": 4},
    "Mixtral": {**GROUPED, "num_local_experts": 4},
    "Olmoe": {**GROUPED, "num_experts": 4},
    "Glm4Moe": {**MOE, "n_routed_experts": 4, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2},
    "GptOss": {**HEADS, "num_local_experts": 4},
    "Llama4Text": {**HEADS, "num_local_experts": 4, "intermediate_size_mlp": 48},
    "DeepseekV2": LATENT,
    "DeepseekV3": LATENT,
    "Mamba": SSM,
    "Mamba2": {**SSM, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "FalconH1": {**GROUPED, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64, "mamba_d_state": 8},
    "Qwen2VL": {
        "text_config": {**GROUPED, **ROPE},
        "vision_config": {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4},
    },
    "Llava": {"text_config": {"model_type": "llama", **GROUPED}, "vision_config": CLIP},
    "Gemma3": {"text_config": HEADS, "vision_config": {**SEEN, "vision_use_head": False}, "mm_tokens_per_image": 4},
}


WIDE = {
    "d_model": 32, "vocab_size": 160, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
    "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48,
}  # fmt: skip
FOLDED = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "vocab_size": 160}
BERT = {"model_type": "bert", **SIZES}
TOWERS = {"text_config": SIZES, "vision_config": SEEN, "projection_dim": 16}
SPARSE = {**LATENT, "index_n_heads": 4, "index_head_dim": 8, "index_topk": 4}
OTHERS: dict[str, dict[str, Any]] = {
    "WhisperForConditionalGeneration": {**WIDE, "num_mel_bins": 8, "pad_token_id": 0},
    "ModernBertForMaskedLM": {**SIZES, "pad_token_id": 0, "sep_token_id": 2, "cls_token_id": 1, "bos_token_id": 1, "eos_token_id": 2},
    "DistilBertForMaskedLM": {"dim": 32, "hidden_dim": 48, "n_layers": 1, "n_heads": 4, "vocab_size": 160},
    "BertForMaskedLM": SIZES,
    "AlbertForMaskedLM": {**SIZES, "embedding_size": 16},
    "RobertaForMaskedLM": SIZES,
    "ElectraForMaskedLM": {**SIZES, "embedding_size": 16},
    "GPTNeoXJapaneseForCausalLM": {**SIZES, "intermediate_multiple_size": 2},
    "XLNetLMHeadModel": {"d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 48, "vocab_size": 160},
    "XLMWithLMHeadModel": {"emb_dim": 32, "n_layers": 1, "n_heads": 4, "n_words": 160},
    "BioGptForCausalLM": SIZES,
    "TrOCRForCausalLM": WIDE,
    "EncoderDecoderModel": {"encoder": BERT, "decoder": {**BERT, "is_decoder": True, "add_cross_attention": True}},
    "BartForConditionalGeneration": WIDE,
    "T5ForConditionalGeneration": FOLDED,
    "Pop2PianoForConditionalGeneration": {**FOLDED, "composer_vocab_size": 21},
    "UdopForConditionalGeneration": {**FOLDED, "image_size": 16, "patch_size": 4, "max_2d_position_embeddings": 32},
    "OpenAIGPTLMHeadModel": OLD,
    "CLIPModel": TOWERS,
    "LayoutLMModel": {**SIZES, "max_2d_position_embeddings": 32},
    "TapasModel": SIZES,
    "CanineModel": {**{name: SIZES[name] for name in SIZES if name != "vocab_size"}, "num_hash_buckets": 32},
    "LukeForMaskedLM": {**SIZES, "entity_vocab_size": 24, "entity_emb_size": 16},
    "CTRLLMHeadModel": {"n_embd": 32, "dff": 48, "n_layer": 1, "n_head": 4, "vocab_size": 160},
    "Gemma3nForCausalLM": {
        **HEADS, "vocab_size_per_layer_input": 128, "hidden_size_per_layer_input": 16, "laurel_rank": 16, "num_kv_shared_layers": 0,
        "layer_types": ["full_attention"], "activation_sparsity_pattern": [0.0],
    },
    "Gemma4ForCausalLM": {**HEADS, "global_head_dim": 8, "vocab_size_per_layer_input": 160, "hidden_size_per_layer_input": 16},
    "GlmMoeDsaForCausalLM": {**SPARSE, "pad_token_id": 0},
    "Blip2ForConditionalGeneration": {
        "vision_config": SEEN, "qformer_config": {**SIZES, "encoder_hidden_size": 32}, "num_query_tokens": 4,
        "text_config": {"model_type": "opt", **SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
    },
}  # fmt: skip
"""Classes whose output embedding has another name, and is not in the file; with other embeddings; that keep modules in 32 bits."""


def made(name: str) -> tuple[Any, dict[str, Spec]]:
    """A model without weights, and the layout of its checkpoint."""
    if name in OTHERS:
        kind = getattr(transformers, name)
        with torch.device("meta"):
            model = kind(kind.config_class(**OTHERS[name]))
    else:
        config = getattr(transformers, f"{name}Config")(**MODELS[name])
        auto = transformers.AutoModelForImageTextToText if "text_config" in MODELS[name] else transformers.AutoModelForCausalLM
        with torch.device("meta"):
            model = auto.from_config(config)
    tied = set(model.all_tied_weights_keys)
    return model, {key: Spec("BF16", tuple(tensor.shape)) for key, tensor in model.state_dict().items() if key not in tied}


def converted(model: Any, skip: list[str] | None) -> set[str]:
    """The weights that transformers replaces, given a skip list."""
    kept = HfQuantizer.get_modules_to_not_convert(model, skip, model._keep_in_fp32_modules)
    replace_with_bnb_linear(model, kept, BitsAndBytesConfig(load_in_4bit=True))
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Linear4bit)}


ROUTED_SHARED = {"Qwen2Moe"}
"""Of these transformers quantizes the gate of the shared expert, too, unless told otherwise; it is one row."""


@pytest.mark.parametrize("name", MODELS)
def test_what_is_quantized_is_what_transformers_converts(name: str) -> None:
    model, layout = made(name)
    chosen = set(convertible(layout, model.config.to_dict()))
    assert chosen
    assert converted(made(name)[0], skipped(layout, chosen, model.config.to_dict())) == chosen
    by_itself = converted(model, None)
    assert chosen == by_itself - ({each for each in by_itself if "shared_expert_gate" in each} if name in ROUTED_SHARED else set())


LAST = {"CLIPModel": "text_projection", "Gemma3nForCausalLM": "model.altup_unembed_projections.2"}
"""Where transformers leaves a module that is no head, unless told otherwise: that of the last parameter."""


@pytest.mark.parametrize("name", OTHERS)
def test_so_it_is_where_heads_and_embeddings_have_other_names(name: str) -> None:
    model, layout = made(name)
    chosen = set(convertible(layout, model.config.to_dict()))
    assert chosen
    assert converted(made(name)[0], skipped(layout, chosen, model.config.to_dict())) == chosen
    by_itself = converted(model, None) - {"lm_head.dense.weight"}
    assert chosen == by_itself | ({f"{LAST[name]}.weight"} if name in LAST else set())


def module(name: str) -> dict[str, Spec]:
    """The layout of a matrix beside one that is quantized."""
    return {NAME: Spec("BF16", SHAPE), f"{name}.weight": Spec("BF16", (7, 32))}


EMBEDDINGS = [
    "embed", "embed_char", "embed_tokens", "embed_tokens_per_layer", "tokens_embed", "positions_embed", "query_embed", "embedding",
    "word_embedding", "x_position_embeddings", "token_type_embeddings_3", "input_embeds_layer", "row_embedder", "codebook", "wte",
    "HashBucketCodepointEmbedder_0", "rel_pos_emb", "mask_tokens", "iou_token", "position_embedding_table", "shared",
    "xpath_tag_sub_embeddings.7",
]  # fmt: skip
HEADS_AND_ROUTERS = ["audio_lm_head", "lm_head.dense", "lm_heads.0", "classifier.2", "gate", "router.layer", "weights_proj"]


@pytest.mark.parametrize("name", [*EMBEDDINGS, *HEADS_AND_ROUTERS])
def test_what_has_such_a_name_stays(name: str) -> None:
    for full in (name, f"model.layers.0.{name}"):
        assert convertible(module(full), {}) == [NAME]


@pytest.mark.parametrize("name", ["embedding_projection", "patch_embedding", "embedding_hidden_mapping_in", "tokenwise", "wo", "mlp.0"])
def test_what_has_another_does_not(name: str) -> None:
    assert set(convertible(module(f"model.{name}"), {})) == set(module(f"model.{name}"))


@pytest.mark.parametrize("key", ["vocab_size", "vocab_size_per_layer_input"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_vocabulary_is_known_by_its_size(key: str, nested: bool) -> None:
    config = {key: 7, "vision_config": {"hidden_size": 6}}
    assert convertible(module("model.x"), {"text_config": config} if nested else config) == [NAME]
    assert set(convertible(module("model.layers.0.x"), config)) == set(module("model.layers.0.x"))


def test_a_part_of_a_model_is_of_a_type_of_its_own() -> None:
    layout = module("language_model.encoder.block.0.wo")
    assert len(convertible(layout, {"model_type": "blip-2"})) == 2
    config = {"model_type": "blip-2", "text_config": {"model_type": "t5"}}
    assert convertible(layout, config) == [NAME]
    assert {"wo", "qformer"} <= set(skipped(layout, [NAME], config))
    assert convertible(layout, {"model_type": "llava", "text_config": {"model_type": "falcon"}}) == []


def test_a_skip_list_is_never_empty_and_names_what_has_a_matrix() -> None:
    layout = {
        "model.embed_tokens.weight": Spec("BF16", (160, 32)),
        NAME: Spec("BF16", SHAPE),
        "model.layers.0.mlp.gate.weight": Spec("BF16", (4, 96)),
        "model.layers.0.mlp.experts.0.up_proj.weight": Spec("BF16", SHAPE),
        "model.layers.0.mlp.experts.1.up_proj.weight": Spec("BF16", SHAPE),
        "model.layers.0.input_layernorm.weight": Spec("BF16", (96,)),
        "model.conv.weight": Spec("BF16", (3, 4, 5)),
        "vision.attn.in_proj_weight": Spec("BF16", (96, 32)),
        "vision.attn.out_proj.weight": Spec("BF16", (32, 32)),
        "vision.mlp.up_proj.2.weight": Spec("I8", (32, 32)),
    }
    assert convertible(layout, {"vocab_size": 160}) == [NAME]
    assert set(skipped(layout, [NAME], {})) - TIED_HEADS == {
        "embed_tokens", "gate", "model.layers.0.mlp.experts", "vision.attn", "out_proj", "vision.mlp.up_proj.2",
    }  # fmt: skip
    assert skipped({}, [], None) == sorted(TIED_HEADS)
    assert "lm_head" in TIED_HEADS


def test_a_head_that_shares_its_weight_is_known_by_its_bias() -> None:
    bias = {"decoder.bias": Spec("BF16", (160,)), "model.norm.weight": Spec("BF16", (32,)), "model.norm.bias": Spec("BF16", (32,))}
    assert set(skipped(module("x") | bias, [NAME, "x.weight"], {})) - TIED_HEADS == {"decoder"}
    assert "decoder" not in skipped({"decoder.layers.0.q_proj.weight": Spec("BF16", SHAPE)} | bias, ["decoder.layers.0.q_proj.weight"], {})


def test_an_entry_that_would_hit_what_is_quantized_is_not_written() -> None:
    names = [NAME, "model.layers.0.attn.proj_out.weight", "embed_out.0.dense.weight"]
    layout = dict.fromkeys([*names, "vision.up_proj.weight"], Spec("BF16", SHAPE))
    skip = set(skipped(layout, names, {}))
    assert TIED_HEADS - skip == {"proj_out", "embed_out"}
    assert skip - TIED_HEADS == {"vision.up_proj"}


def test_what_no_skip_list_tells_from_what_is_not_quantized_stays_as_it_is() -> None:
    layout = dict.fromkeys(["classifier.weight", "pre_classifier.weight", "encoder.layer.0.dense.weight"], Spec("BF16", (8, 8)))
    chosen = convertible(layout, {"model_type": "distilbert"})
    assert chosen == ["encoder.layer.0.dense.weight"]
    assert set(skipped(layout, chosen, {})) - TIED_HEADS == {"classifier", "pre_classifier"}


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3", "F64"])
def test_only_ordinary_floats_are_quantized(dtype: str) -> None:
    assert convertible({NAME: Spec(dtype, SHAPE)}, {}) == []


SCHEMES: dict[str, tuple[Scheme, Callable[[], BitsAndBytesConfig]]] = {
    "nf4": (FourBit(), lambda: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16")),
    "fp4, nested, turned": (
        Transposed(FourBit("fp4", nested=True, dtype="F16")),
        lambda: BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="float16"
        ),
    ),
    "int8": (Int8(), lambda: BitsAndBytesConfig(load_in_8bit=True)),
}


@pytest.mark.parametrize(("scheme", "theirs"), SCHEMES.values(), ids=SCHEMES)
def test_the_config_says_what_transformers_writes(scheme: Scheme, theirs: Callable[[], BitsAndBytesConfig]) -> None:
    before = {"model_type": "llama", "dtype": "bfloat16"}
    found = described(before, scheme, ["lm_head"])
    assert found.pop("quantization_config") == {**theirs().to_dict(), "llm_int8_skip_modules": ["lm_head"]}
    assert found == before == without(described(before, scheme, []))
    assert without(None) is None
