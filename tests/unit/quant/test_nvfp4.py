"""NVFP4 as modelopt and compressed-tensors store it, against a formula in float64 and against the library's decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from codes import normal, reader
from compressed_tensors.compressors.nvfp4 import NVFP4PackedCompressor
from compressed_tensors.entrypoints.convert import ModelOptNvfp4Converter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import NAME, Tensors, absent, recognised
from torch import Tensor

from adapterops.errors import InputError, UnsupportedError
from adapterops.quant.header import key
from adapterops.quant.nvfp4 import CODES, NVFP4

SHAPE = (8, 64)
THEIRS = QuantizationScheme(
    targets=["Linear"],
    weights=QuantizationArgs(num_bits=4, type="float", strategy="tensor_group", symmetric=True, group_size=16),
)
SECTIONS = {
    "weight_scale_2": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "weight_global_scale": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
}


def nvfp4(whole: str, seed: int = 0, shape: tuple[int, int] = SHAPE) -> tuple[NVFP4, dict[str, Tensor]]:
    """Random codes and scales, as one of the two layouts has them."""
    random = torch.Generator().manual_seed(seed)
    out, into = shape
    scale = torch.tensor(0.0037 if whole == "weight_scale_2" else 270.3)
    scheme = NVFP4(whole, () if whole == "weight_scale_2" else (1,))
    return scheme, {
        CODES[whole]: torch.randint(0, 256, (out, into // 2), dtype=torch.uint8, generator=random),
        "weight_scale": (normal(seed, out, into // 16).abs() * 40).to(torch.float8_e4m3fn),
        whole: scale.view(scheme.whole_shape),
    }


@pytest.mark.parametrize("whole", CODES)
def test_the_formula_entry_by_entry(whole: str) -> None:
    """number · scale · s, or number · scale / s; the low half of a byte is the even column."""
    scheme, parts = nvfp4(whole)
    found = scheme.decode(SHAPE, reader(parts), 0, 8).double()
    numbers = [sign * n for sign in (1, -1) for n in (0, 0.5, 1, 1.5, 2, 3, 4, 6)]
    s = float(parts[whole])
    for row, column in torch.cartesian_prod(torch.arange(8), torch.arange(64)).tolist():
        byte = int(parts[CODES[whole]][row, column // 2])
        scale = float(parts["weight_scale"][row, column // 16].float())
        expected = numbers[byte // 16 if column % 2 else byte % 16] * (scale * s if "2" in whole else scale / s)
        assert float(found[row, column]) == pytest.approx(expected, rel=2.0**-22)


@examples(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(list(CODES)), st.data())
def test_it_is_what_compressed_tensors_decodes(seed: int, whole: str, data: st.DataObject) -> None:
    """Which rounds to bfloat16; its own converter makes modelopt's parts into those it decodes."""
    scheme, parts = nvfp4(whole, seed)
    theirs = {f"fc.{role}": part.clone() for role, part in parts.items()}
    if whole == "weight_scale_2":
        theirs = ModelOptNvfp4Converter(targets=["re:.*"]).process(theirs)
        inverse = theirs["fc.weight_global_scale"]
        theirs["fc.weight_global_scale"] = inverse.view(1)  # a scalar would be used in bfloat16
    expected = NVFP4PackedCompressor.decompress(
        {name.removeprefix("fc."): part for name, part in theirs.items()}, THEIRS
    )["weight"]
    begin = data.draw(st.integers(0, 8))
    end = data.draw(st.integers(begin, 8))
    found = scheme.decode(SHAPE, reader(parts), begin, end)
    assert found.dtype == torch.float32
    step = 2.0**-8 if whole == "weight_scale_2" else 0  # 1 / s is rounded before it divides
    assert torch.allclose(found.bfloat16().float(), expected[begin:end].float(), rtol=step, atol=0)


# What is known, and what is broken


def tensors(whole: str, **roles: Tensor) -> Tensors:
    return {key(NAME, role): part for role, part in {**nvfp4(whole)[1], **roles}.items()}


@pytest.mark.parametrize("whole", CODES)
@pytest.mark.parametrize("said", [True, False], ids=["in the config", "nowhere"])
def test_both_layouts_are_known_by_their_tensors(whole: str, said: bool) -> None:
    extra = "input_scale" if whole == "weight_scale_2" else "input_global_scale"
    section = {"quantization_config": SECTIONS[whole]} if said else {}
    given = tensors(whole, **{extra: torch.tensor([0.5])})
    weights, others = recognised(given, **section)
    weight = weights[NAME]
    assert (weight.scheme, weight.shape, others) == (nvfp4(whole)[0], SHAPE, [])
    assert set(weight.keys.values()) == set(given)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "too few scales": ({"weight_scale": torch.ones(8, 2).to(torch.float8_e4m3fn)}, r"should be F8_E4M3 \[8, 4\]"),
    "scales for other rows": ({"weight_scale": torch.ones(4, 8).to(torch.float8_e4m3fn)}, r"found F8_E4M3 \[4, 8\]"),
}
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "scales in float32": ({"weight_scale": torch.ones(8, 4)}, r"weight_scale F32 \[8, 4\]"),
    "a scale for each row": ({"weight_scale_2": torch.ones(8, 1)}, r"weight_scale_2 F32 \[8, 1\]"),
    "a scale in 16 bits": ({"weight_scale_2": torch.ones(1).half()}, "weight_scale_2 F16"),
    "experts in one": ({"weight": torch.zeros(2, 8, 32, dtype=torch.uint8)}, r"codes U8 \[2, 8, 32\]"),
    "integers": ({"weight": torch.zeros(8, 32, dtype=torch.int8)}, "codes I8"),
    "inputs that are scaled": ({"pre_quant_scale": torch.ones(64)}, "scales inputs"),
}


@pytest.mark.parametrize(("roles", "words"), BROKEN.values(), ids=BROKEN)
def test_parts_that_do_not_fit(roles: dict[str, Tensor], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        recognised(tensors("weight_scale_2", **roles))
    assert (caught.value.tensor, caught.value.code) == (NAME, "E-QUANT")


@pytest.mark.parametrize(("roles", "words"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_stored_in_another_way(roles: dict[str, Tensor], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words) as caught:
        recognised(tensors("weight_scale_2", **roles))
    assert (caught.value.tensor or "").startswith(NAME.removesuffix("weight"))


@pytest.mark.parametrize("whole", CODES)
def test_a_part_that_is_missing(whole: str) -> None:
    section = {"quantization_config": SECTIONS[whole]}
    for role in (CODES[whole], "weight_scale", whole):
        with pytest.raises((InputError, UnsupportedError)) as caught:
            recognised(absent(tensors(whole), role), **section)
        assert (caught.value.tensor or "").startswith(NAME.removesuffix(".weight"))
