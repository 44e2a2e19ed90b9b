"""What is read and not written, against formulas that go entry by entry, and against transformers."""

from __future__ import annotations

import math

import pytest
import torch
from codes import DTYPES, normal, reader
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from adapterops.errors import UnsupportedError
from adapterops.quant.fp8 import FP8
from adapterops.quant.mxfp4 import MXFP4

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
    assert found.dtype == DTYPES[scheme.dtype]
    assert torch.equal(found, expected.float().to(found.dtype))


@st.composite
def fp8_codes(draw: st.DrawFn) -> tuple[Tensor, str]:
    shape = draw(st.sampled_from([(1, 1), (5, 7), (8, 8), (9, 12), (16, 5)]))
    kind = draw(st.sampled_from(list(FLOATS)))
    return (normal(draw(st.integers(0, 10**6)), *shape) * draw(st.sampled_from([0.01, 1.0, 50.0]))).to(FLOATS[kind]), kind


@examples(max_examples=40)
@given(fp8_codes(), st.sampled_from([(4, 4), (3, 5), (128, 128), (1, 4), (8, 1)]), st.sampled_from(["F32", "BF16", "F16"]), st.data())
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
    check_fp8(FP8((4, 4), "scale", kind, scale, shape, "F32"), codes, stored, 2.0 ** (exponents.double() - 127), 0, len(codes))


@pytest.mark.parametrize("scale", ["F8_E8M0", "U8"])
def test_the_last_power_of_two_is_none(scale: str) -> None:
    codes, stored = normal(0, 2, 4).to(torch.float8_e4m3fn), torch.tensor([[255], [254]], dtype=torch.uint8)
    parts = {"weight": codes, "scale": stored.view(torch.float8_e8m0fnu) if scale == "F8_E8M0" else stored}
    found = FP8((1, 4), "scale", "F8_E4M3", scale, (2, 1), "F32").decode((2, 4), reader(parts), 0, 2)
    assert torch.equal(found.isnan(), torch.tensor([[True] * 4, [False] * 4]))


def test_the_last_power_of_two_is_none_in_mxfp4() -> None:
    parts = blocks(0, 1, 2, 32)
    parts["_scales"][0, 1] = 255
    found = MXFP4().decode((1, 32, 2), reader(parts), 0, 32)
    assert torch.equal(found.isnan(), torch.tensor([[False, True]] * 32))


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
        found = FP8((16, 16), "scale", kind, "F32", (), "F32").decode((16, 16), reader({"weight": codes, "scale": torch.ones(())}), 0, 16)
        assert torch.equal(found, codes.float()) or torch.equal(found.isnan(), codes.float().isnan())
        assert torch.equal(found.nan_to_num(), codes.float().nan_to_num())


def blocks(seed: int, experts: int, out: int, into: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "_blocks": torch.randint(0, 256, (experts, out, into // 32, 16), dtype=torch.uint8, generator=random),
        "_scales": torch.randint(112, 136, (experts, out, into // 32), dtype=torch.uint8, generator=random),
    }


@examples(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([(1, 1, 32), (3, 5, 64), (2, 96, 32)]), st.sampled_from(["BF16", "F32"]), st.data())
def test_mxfp4_is_what_transformers_makes_of_it(seed: int, sizes: tuple[int, int, int], dtype: str, data: st.DataObject) -> None:
    experts, out, into = sizes
    parts = blocks(seed, experts, out, into)
    expected = convert_moe_packed_tensors(parts["_blocks"].clone(), parts["_scales"].clone(), dtype=DTYPES[dtype])
    assert expected.shape == (experts, into, out)
    rows = expected.reshape(-1, out)
    begin = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(begin, len(rows)))
    found = MXFP4(dtype).decode((experts, into, out), reader(parts), begin, end)
    assert found.dtype == DTYPES[dtype]
    assert torch.equal(found, rows[begin:end])


def test_mxfp4_entry_by_entry() -> None:
    parts = blocks(1, 2, 3, 64)
    found = MXFP4("F32").decode((2, 64, 3), reader(parts), 0, 128).view(2, 64, 3)
    numbers = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    for expert, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(64), torch.arange(3)).tolist():
        byte = int(parts["_blocks"][expert, column, row // 32, row % 32 // 2])
        code = byte // 16 if row % 2 else byte % 16  # the low half is the first
        expected = (-1) ** (code // 8) * numbers[code % 8] * 2.0 ** (int(parts["_scales"][expert, column, row // 32]) - 127)
        assert float(found[expert, row, column]) == expected


def test_the_parts_of_mxfp4() -> None:
    parts = blocks(2, 4, 6, 96)
    said = MXFP4().parts((4, 96, 6))
    assert {role: part.shape for role, part in said.items()} == {role: tuple(part.shape) for role, part in parts.items()}
    assert MXFP4().granularity((4, 96, 6)) == 96


@pytest.mark.parametrize("scheme", [FP8((1, 8), "weight_scale", "F8_E4M3", "F32", (4,)), MXFP4()], ids=["fp8", "mxfp4"])
def test_neither_is_written(scheme: FP8 | MXFP4) -> None:
    with pytest.raises(UnsupportedError, match="read, not written"):
        scheme.encoder((4, 8))
    with pytest.raises(UnsupportedError, match="read, not written"):
        scheme.on_grid((4, 8), reader({}), "key")
