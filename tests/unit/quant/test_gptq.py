"""GPTQ, against a packer that goes bit by bit and a formula in float64;
what is broken or of another variant is refused.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from codes import DTYPES, reader
from gptq_models import GPTQWeight
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import NAME, Tensors, recognised
from torch import Tensor

from adapterops.errors import AdapterOpsError, InputError, UnsupportedError
from adapterops.quant.gptq import GPTQ, LAYOUTS, WIDTHS
from adapterops.quant.header import key
from adapterops.quant.registry import is_written, writable

OUT, INTO, SIZE = 64, 96, 32
WEIGHT = GPTQWeight.random(OUT, INTO, 4, SIZE, ordered=True)


def tensors(weight: GPTQWeight = WEIGHT, offset: int = 1, **roles: Tensor) -> Tensors:
    return {key(NAME, role): part for role, part in {**weight.stored(offset), **roles}.items()}


def without(role: str) -> Tensors:
    return {name: tensor for name, tensor in tensors().items() if name != key(NAME, role)}


def said(**fields: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": 4, "group_size": SIZE, **fields}


@examples(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from(WIDTHS),
    st.sampled_from(list(LAYOUTS)),
    st.booleans(),
    st.sampled_from([(32, 32, 32), (64, 96, 32), (32, 128, 128), (96, 64, 16)]),
    st.sampled_from(list(DTYPES)),
    st.data(),
)
def test_any_rows_are_decoded_to_the_formula(
    seed: int, bits: int, layout: str, ordered: bool, sizes: tuple[int, int, int], dtype: str, data: st.DataObject
) -> None:
    out, into, size = sizes
    weight = GPTQWeight.random(out, into, bits, size, ordered=ordered, seed=seed)
    scheme = GPTQ(bits, size, offset=LAYOUTS[layout], dtype=dtype)
    begin = data.draw(st.integers(0, out))
    end = data.draw(st.integers(begin, out))
    found = scheme.decode((out, into), reader(weight.stored(LAYOUTS[layout])), begin, end)
    assert found.dtype == torch.float32, f"decoded for {dtype}"
    assert torch.equal(found, weight.formula()[begin:end].float())


def test_a_weight_is_decoded_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterops.quant.gptq.AT_ONCE", 5 * INTO)
    found = GPTQ(4, SIZE, dtype="F32").decode((OUT, INTO), reader(WEIGHT.stored()), 3, OUT)
    assert torch.equal(found, WEIGHT.formula()[3:].float())


def test_without_g_idx_columns_are_in_their_order() -> None:
    weight = GPTQWeight.random(OUT, INTO, 4, SIZE, ordered=False)
    found = GPTQ(4, SIZE, ordered=False, dtype="F32").decode((OUT, INTO), reader(weight.stored()), 0, OUT)
    assert torch.equal(found, weight.formula().float())


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(
    "layout", [{}, {"checkpoint_format": "gptq"}, {"format": "gptq"}, {"checkpoint_format": "gptq_v2"}], ids=str
)
def test_it_is_known_by_the_config(bits: int, layout: dict[str, str]) -> None:
    weight = GPTQWeight.random(OUT, INTO, bits, SIZE, ordered=True)
    weights, others = recognised(tensors(weight), quantization_config=said(bits=bits, **layout), dtype="bfloat16")
    assert weights[NAME].scheme == GPTQ(bits, SIZE, offset=0 if "gptq_v2" in layout.values() else 1, dtype="BF16")
    assert (weights[NAME].shape, set(weights[NAME].keys.values()), others) == ((OUT, INTO), set(tensors()), [])


@pytest.mark.parametrize("scale", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_scales_may_be_of_another_dtype(scale: torch.dtype) -> None:
    assert recognised(tensors(scales=WEIGHT.scales.to(scale)), quantization_config=said())[0]


def test_one_group_for_all_columns() -> None:
    weight = GPTQWeight.random(OUT, INTO, 4, INTO, ordered=False)
    scheme = recognised(tensors(weight), quantization_config=said(group_size=-1))[0][NAME].scheme
    assert isinstance(scheme, GPTQ)
    assert scheme.group == INTO


def test_it_is_not_made_anew() -> None:
    assert not is_written(GPTQ(4, 128))
    with pytest.raises(UnsupportedError, match="gptq is not written with new codes"):
        writable(GPTQ(4, 128))


OTHER_WAYS: dict[str, dict[str, Any]] = {
    "marlin": {"checkpoint_format": "marlin"},
    "marlin as AutoGPTQ says it": {"is_marlin_format": True},
    "bitblas": {"format": "bitblas"},
    "a format that is none": {"checkpoint_format": ["gptq"]},
    "five bits": {"bits": 5},
    "bits that are not said": {"bits": None},
    "bits of fractions": {"bits": 4.0},
    "bits of text": {"bits": "4"},
    "bits of a list": {"bits": [4]},
}


@pytest.mark.parametrize("fields", OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_other_ways_are_refused_by_their_name(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="GPTQ of another variant") as caught:
        recognised(tensors(), quantization_config=said(**fields))
    assert caught.value.tensor == NAME


BROKEN: dict[str, tuple[Tensors, dict[str, Any], str]] = {
    "no zeros": (without("qzeros"), {}, r"qzeros should be I32 \[3, 8\]; found nothing"),
    "no scales": (without("scales"), {}, r"scales should be F16 \[3, 64\]; found nothing"),
    "zeros of floats": (tensors(qzeros=torch.ones(3, 8)), {}, r"should be I32 \[3, 8\]; found F32"),
    "zeros transposed": (tensors(qzeros=torch.ones(8, 3).int()), {}, r"should be I32 \[3, 8\]; found I32 \[8, 3\]"),
    "scales of integers": (tensors(scales=torch.ones(3, 64).int()), {}, r"should be F16 \[3, 64\]; found I32"),
    "too few scales": (tensors(scales=torch.ones(2, 64).half()), {}, r"should be F16 \[3, 64\]; found F16 \[2, 64\]"),
    "too few columns": (tensors(g_idx=torch.zeros(95).int()), {}, r"g_idx should be I32 \[96\]; found I32 \[95\]"),
    "columns in 64 bits": (tensors(g_idx=torch.zeros(96).long()), {}, r"g_idx should be I32 \[96\]; found I64"),
    "codes of floats": (tensors(qweight=torch.ones(12, 64)), {}, r"qweight should be I32 \[12, 64\]; found F32"),
    "codes of one dimension": (tensors(qweight=torch.ones(12).int()), {}, r"its qweight is I32 \[12\], expected"),
    "no codes": (tensors(qweight=torch.ones(0, 64).int()), {}, r"its qweight is I32 \[0, 64\], expected"),
    "other bits": (tensors(), {"bits": 8, "group_size": 16}, r"qzeros should be I32 \[3, 16\]; found I32 \[3, 8\]"),
    "three bits of four": (tensors(), {"bits": 3, "group_size": 32}, r"should be I32 \[4, 6\]"),
    "half the groups": (tensors(), {"group_size": 16}, r"should be I32 \[6, 8\]"),
    **{
        f"groups of {size!r}": (tensors(), {"group_size": size}, "bits and groups of")
        for size in (0, -2, True, "32", 32.0, [32])
    },
    "groups of 5, the last cut off": (tensors(), {"group_size": 5}, r"qzeros should be I32 \[20, 8\]"),
}


@pytest.mark.parametrize(("parts", "fields", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused(parts: Tensors, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        recognised(parts, quantization_config=said(**fields))
    assert (caught.value.tensor, caught.value.code) == (NAME, "E-QUANT")


@pytest.mark.parametrize("group", [-1, 3])
def test_a_column_of_a_group_without_scales_is_refused(group: int) -> None:
    broken = {**WEIGHT.stored(), "g_idx": WEIGHT.groups.int().index_fill(0, torch.tensor(7), group)}
    with pytest.raises(InputError, match="expected 0 to 2") as caught:
        GPTQ(4, SIZE).decode((OUT, INTO), reader(broken), 0, OUT)
    assert caught.value.code == "E-QUANT"


@pytest.mark.parametrize("role", ["qzeros", "g_idx"])
def test_a_part_of_no_weight_is_refused(role: str) -> None:
    left = {
        key(NAME, role): WEIGHT.stored()[role],
        **{key("other.weight", name): part for name, part in WEIGHT.stored().items()},
    }
    with pytest.raises(AdapterOpsError) as caught:
        recognised(left, quantization_config=said())
    assert caught.value.tensor == key(NAME, role)


@pytest.mark.parametrize("method", ["auto-round", "intel/auto-round"])
def test_those_of_auto_round(method: str) -> None:
    """By `packing_format`, with what differs for single modules in `extra_config`."""
    section = {"quant_method": method, "bits": 4, "group_size": 32, "sym": False, "data_type": "int"}
    section["packing_format"] = "auto_round:auto_gptq"
    section["extra_config"] = {NAME.removesuffix(".weight"): {"bits": WEIGHT.bits, "group_size": SIZE}}
    ((name, weight),) = recognised(tensors(), quantization_config=section)[0].items()
    assert name == NAME
    assert weight.scheme == recognised(tensors(), quantization_config=said())[0][NAME].scheme
    for change in ({"packing_format": "auto_round"}, {"data_type": "mx_fp"}, {"packing_format": None}):
        with pytest.raises(UnsupportedError, match="AutoRound in another way"):
            recognised(tensors(), quantization_config={**section, **change})
