"""FP8, against a formula that goes entry by entry: what is known by the shape of its scales, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from codes import DTYPES, normal, reader
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import NAME, Tensors, recognised
from torch import Tensor

from adapterops.errors import UnsupportedError
from adapterops.quant.fp8 import FP8
from adapterops.quant.header import key

FLOATS = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def fp8_formula(codes: Tensor, scales: Tensor, block: tuple[int, int]) -> Tensor:
    """Entry by entry, in float64."""
    result = codes.double()
    for row in range(len(codes)):
        for column in range(codes.shape[1]):
            result[row, column] *= scales[row // block[0], column // block[1]]
    return result


def check_fp8(scheme: FP8, codes: Tensor, stored: Tensor, scales: Tensor, begin: int, end: int) -> None:
    found = scheme.decode(tuple(codes.shape), reader({"weight": codes, scheme.role: stored}), begin, end)
    expected = fp8_formula(codes, scales.double(), scheme.block)[begin:end]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected.float())


@st.composite
def fp8_codes(draw: st.DrawFn) -> tuple[Tensor, str]:
    shape = draw(st.sampled_from([(1, 1), (5, 7), (8, 8), (9, 12), (16, 5)]))
    kind = draw(st.sampled_from(list(FLOATS)))
    return (normal(draw(st.integers(0, 10**6)), *shape) * draw(st.sampled_from([0.01, 1.0, 50.0]))).to(
        FLOATS[kind]
    ), kind


@examples(max_examples=40)
@given(
    fp8_codes(),
    st.sampled_from([(4, 4), (3, 5), (128, 128), (1, 4), (8, 1)]),
    st.sampled_from(["F32", "BF16", "F16"]),
    st.data(),
)
def test_fp8_in_blocks_of_which_the_last_may_be_cut_off(
    weight: tuple[Tensor, str], block: tuple[int, int], scale: str, data: st.DataObject
) -> None:
    codes, kind = weight
    shape = (-(-len(codes) // block[0]), -(-codes.shape[1] // block[1]))
    scales = (normal(1, *shape).abs() + 0.1).to(DTYPES[scale])
    begin = data.draw(st.integers(0, len(codes) - 1))
    end = data.draw(st.integers(begin + 1, len(codes)))
    scheme = FP8(block, "weight_scale_inv", kind, scale, shape, data.draw(st.sampled_from(list(DTYPES))))
    check_fp8(scheme, codes, scales, scales, begin, end)


@examples(max_examples=40)
@given(fp8_codes(), st.sampled_from(["F8_E8M0", "U8"]), st.integers(100, 150))
def test_fp8_with_powers_of_two_for_scales(weight: tuple[Tensor, str], scale: str, least: int) -> None:
    codes, kind = weight
    shape = (-(-len(codes) // 4), -(-codes.shape[1] // 4))
    exponents = (least + torch.arange(math.prod(shape)) % 5).view(shape)
    stored = exponents.to(torch.uint8)
    stored = stored.view(torch.float8_e8m0fnu) if scale == "F8_E8M0" else stored
    check_fp8(
        FP8((4, 4), "scale", kind, scale, shape, "F32"), codes, stored, 2.0 ** (exponents.double() - 127), 0, len(codes)
    )


@pytest.mark.parametrize("scale", ["F8_E8M0", "U8"])
def test_the_last_power_of_two_is_none(scale: str) -> None:
    codes, stored = normal(0, 2, 4).to(torch.float8_e4m3fn), torch.tensor([[255], [254]], dtype=torch.uint8)
    parts = {"weight": codes, "scale": stored.view(torch.float8_e8m0fnu) if scale == "F8_E8M0" else stored}
    found = FP8((1, 4), "scale", "F8_E4M3", scale, (2, 1), "F32").decode((2, 4), reader(parts), 0, 2)
    assert torch.equal(found.isnan(), torch.tensor([[True] * 4, [False] * 4]))


@examples(max_examples=30)
@given(fp8_codes(), st.sampled_from([(), (1,), (1, 1)]))
def test_fp8_with_one_scale(weight: tuple[Tensor, str], shape: tuple[int, ...]) -> None:
    codes, kind = weight
    scheme = FP8((codes.shape[0], codes.shape[1]), "weight_scale", kind, "F32", shape)
    check_fp8(scheme, codes, torch.full(shape, 0.37), torch.full((1, 1), 0.37), 0, len(codes))


@examples(max_examples=30)
@given(fp8_codes(), st.booleans())
def test_fp8_with_a_scale_for_each_row(weight: tuple[Tensor, str], flat: bool) -> None:
    codes, kind = weight
    scales = normal(2, len(codes), 1).abs()
    stored = scales.view(-1) if flat else scales
    scheme = FP8((1, codes.shape[1]), "weight_scale", kind, "F32", tuple(stored.shape))
    check_fp8(scheme, codes, stored, scales, len(codes) // 2, len(codes))


def test_all_bytes_of_fp8() -> None:
    for kind, dtype in FLOATS.items():
        codes = torch.arange(256, dtype=torch.uint8).view(16, 16).view(dtype)
        found = FP8((16, 16), "scale", kind, "F32", (), "F32").decode(
            (16, 16), reader({"weight": codes, "scale": torch.ones(())}), 0, 16
        )
        assert torch.equal(found, codes.float()) or torch.equal(found.isnan(), codes.float().isnan())
        assert torch.equal(found.nan_to_num(), codes.float().nan_to_num())


# What is known, and what is refused


def fp8(
    shape: tuple[int, int] = (300, 200), scales: tuple[int, ...] = (3, 2), role: str = "weight_scale_inv"
) -> Tensors:
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
def test_fp8_is_known_by_the_shape_of_its_scales(
    scales: tuple[int, ...], config: dict[str, Any], block: tuple[int, int]
) -> None:
    scheme = recognised(fp8(scales=scales), **config)[0][NAME].scheme
    assert isinstance(scheme, FP8)
    assert scheme.block == block


@pytest.mark.parametrize("role", ["weight_scale_inv", "weight_scale", "scale", "qscale_weight", "scale_weight"])
def test_scales_of_activations_go_along(role: str) -> None:
    tensors = {**fp8(scales=(), role=role), key(NAME, "input_scale"): torch.ones(())}
    weights, others = recognised(tensors)
    assert set(weights[NAME].keys.values()) == set(tensors)
    assert others == []


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
    "a size of blocks in three dimensions": (
        fp8(),
        {"quantization_config": {"weight_block_size": [1, 128, 128]}},
        "no known layout",
    ),
    "scales in integers": (
        {**fp8(scales=(1,)), key(NAME, "weight_scale_inv"): torch.ones(1).int()},
        {},
        "scales in I32",
    ),
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
