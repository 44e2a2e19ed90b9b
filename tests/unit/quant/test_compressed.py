"""Packed codes of compressed-tensors are known by the config: what is broken or of another variant is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from recognition import INTEGERS, NAME, Tensors, absent, recognised
from torch import Tensor

from adapterops.errors import InputError, UnsupportedError
from adapterops.quant.compressed import CompressedTensors
from adapterops.quant.header import key


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
    weight = recognised(packed(**CHANNELS), quantization_config=weights_said(strategy="channel", group_size=size))[0][
        NAME
    ]
    assert isinstance(weight.scheme, CompressedTensors)
    assert weight.scheme.group == 256


LENGTHS: list[Any] = [
    [],
    [64],
    [0, 256],
    [-1, 256],
    [64, 16, 16],
    [256, 64],
    [32, 256],
    [64, 255],
    [64, 100],
    [1 << 40, 1 << 20],
]
PACKED_BROKEN: dict[str, tuple[dict[str, Tensor], dict[str, Any], str]] = {
    **{
        f"of {lengths}": ({"weight_shape": torch.tensor(lengths, dtype=torch.int64)}, {}, "expected|should be")
        for lengths in LENGTHS
    },
    "a shape in 16 bits": (
        {"weight_shape": torch.tensor([64, 256], dtype=torch.int16)},
        {},
        r"in I64 or I32; found I16 \[2\]",
    ),
    "a shape of floats": ({"weight_shape": torch.tensor([64.0, 256.0])}, {}, r"in I64 or I32; found F32 \[2\]"),
    "a huge shape": ({"weight_shape": torch.ones(1 << 14).long()}, {}, r"found I64 \[16384\]"),
    "one dimension": ({"weight_packed": INTEGERS.view(-1)}, {}, r"should be I32 \[64, 32\]; found I32 \[16\]"),
    "too few words": ({"weight_packed": torch.ones(64, 5).int()}, {}, r"should be I32 \[64, 32\]; found I32 \[64, 5\]"),
    "wide words": ({"weight_packed": torch.ones(64, 32).long()}, {}, r"should be I32 \[64, 32\]; found I64"),
    "words of floats": ({"weight_packed": torch.ones(64, 32)}, {}, r"should be I32 \[64, 32\]; found F32"),
    "scales of integers": (
        {"weight_scale": torch.ones(64, 2).to(torch.int8)},
        {},
        r"should be BF16 \[64, 2\]; found I8",
    ),
    "scales for rows": ({"weight_scale": torch.ones(64, 1)}, {}, r"should be F32 \[64, 2\]; found F32 \[64, 1\]"),
    "scales transposed": ({"weight_scale": torch.ones(2, 64)}, {}, r"should be F32 \[64, 2\]; found F32 \[2, 64\]"),
    "too few scales": ({"weight_scale": torch.ones(32, 2)}, {}, r"should be F32 \[64, 2\]; found F32 \[32, 2\]"),
    "too few zero points": (
        {"weight_zero_point": torch.ones(1, 2).int()},
        {},
        r"should be I32 \[8, 2\]; found I32 \[1, 2\]",
    ),
    "zero points in bytes": ({"weight_zero_point": torch.ones(8, 2).byte()}, {}, r"should be I32 \[8, 2\]; found U8"),
    "other bits": ({}, {"num_bits": 8}, r"should be I32 \[64, 64\]; found I32 \[64, 32\]"),
    "bits of fractions": ({}, {"num_bits": 4.0}, "4.0 bits"),
    "zero points that are not said": ({}, {"symmetric": True}, "weight_packed with zero points is missing"),
    "groups for rows": (CHANNELS, {"strategy": "channel", "group_size": 128}, r"should be F32 \[64, 2\]"),
    **{
        f"groups of {size!r}": ({}, {"group_size": size}, f"groups of {size!r} ")
        for size in (0, -1, 3, True, None, "128", 128.0, [128])
    },
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
    "groups",
    [None, [], "all", {"group_0": None}, {"group_0": {"weights": [4]}}, {"a": {"weights": {"type": ["int"]}}}],
    ids=str,
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
