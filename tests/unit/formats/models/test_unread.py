"""Parts of quantized weights that nobody took are refused; what only looks like one is not."""

from __future__ import annotations

import pytest

from adapterops.errors import AdapterOpsError, InputError, UnsupportedError
from adapterops.formats.models.unread import check_unread
from adapterops.quant.registry import own
from adapterops.storage.tensors import Spec

MODULE = "model.layers.0.mlp.up_proj"
EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def check(left: Tensors, method: str | None = None, any_read: bool = True) -> None:
    check_unread({name: Spec(*spec) for name, spec in left.items()}, method, any_read, own())


LEFT: dict[str, tuple[Tensors, str]] = {
    "four bits without a state": ({f"{MODULE}.weight": ("U8", (288, 1))}, "quant_state.bitsandbytes__nf4 or __fp4 is missing"),
    "eight bits without scales": ({f"{MODULE}.weight": ("I8", (6, 96))}, f"{MODULE}.SCB is missing"),
    "fp8 without scales": ({f"{MODULE}.weight": ("F8_E4M3", (6, 96))}, f"{MODULE}.weight_scale_inv or .weight_scale is missing"),
    "fp8 of another kind": ({f"{MODULE}.weight": ("F8_E5M2FNUZ", (6, 96))}, ".weight_scale is missing"),
    "one dimension": ({f"{MODULE}.weight": ("I8", (6,))}, f"{MODULE}.SCB is missing"),
    "scales of four bits": ({f"{MODULE}.weight.absmax": ("F32", (9,))}, f"{MODULE}.weight.quant_state.* is missing"),
    "a table of four bits": ({f"{MODULE}.weight.quant_map": ("F32", (16,))}, "quant_state"),
    "nested scales": ({f"{MODULE}.weight.nested_absmax": ("F32", (1,))}, "quant_state"),
    "a nested table": ({f"{MODULE}.weight.nested_quant_map": ("F32", (256,))}, "quant_state"),
    "a layout of eight bits": ({f"{MODULE}.weight_format": ("U8", ())}, f"{MODULE}.SCB is missing"),
    "scales of fp8": ({f"{MODULE}.weight_scale_inv": ("F32", (3, 2))}, f"{MODULE}.weight in FP8 is missing"),
    "scales beside a weight in 16 bits": (
        {f"{MODULE}.weight": ("BF16", (6, 96)), f"{MODULE}.weight_scale": ("F32", ())},
        f"{MODULE}.weight in FP8 is missing",
    ),
    "scales of experts in fp8": ({f"{EXPERTS}_scale_inv": ("F32", (2, 1, 1))}, f"{EXPERTS} in FP8 is missing"),
    "mxfp4 without blocks": ({f"{EXPERTS}_scales": ("U8", (2, 8, 3))}, "in U8 in a layout"),
    "the shape of packed codes": ({f"{MODULE}.weight_shape": ("I64", (2,))}, f"{MODULE}.weight_packed is missing"),
    "zero points": ({f"{MODULE}.weight_zero_point": ("I32", (8, 2))}, f"{MODULE}.weight_packed with zero points is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("left", "words"), LEFT.values(), ids=LEFT)
def test_what_is_left_of_a_weight_that_is_read(left: Tensors, words: str) -> None:
    with pytest.raises(AdapterOpsError, match=words) as caught:
        check({"model.norm.weight": ("BF16", (96,)), **left})
    assert caught.value.tensor == list(left)[-1]
    if "in a layout" not in words:
        assert isinstance(caught.value, InputError)
        assert caught.value.code == "E-QUANT"


@pytest.mark.parametrize(("name", "missing"), [(f"{EXPERTS}_blocks", "_scales"), (f"{EXPERTS}_scales", "_blocks")])
def test_half_of_mxfp4_of_which_the_config_says_nothing(name: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"{EXPERTS}{missing} is missing") as caught:
        check({name: ("U8", (2, 8, 3))}, any_read=False)
    assert (caught.value.tensor, caught.value.code) == (name, "E-QUANT")


UNSUPPORTED: dict[str, Tensors] = {
    "experts in fp8": {EXPERTS: ("F8_E4M3", (2, 64, 64)), f"{EXPERTS}_scale_inv": ("F32", (2, 1, 1))},
    "experts in fp8 without scales": {EXPERTS: ("F8_E4M3", (2, 64, 64))},
    "experts in integers": {EXPERTS: ("I8", (2, 64, 64))},
    "integers with scales": {f"{MODULE}.weight": ("I8", (6, 96)), f"{MODULE}.weight_scale": ("F32", (6, 1))},
    "four bits of another kind": {
        f"{MODULE}.weight": ("U8", (288, 1)),
        f"{MODULE}.weight.quant_state.bitsandbytes__af4": ("U8", (80,)),
    },
    "another fp8": {f"{MODULE}.weight": ("F8_E4M3FNUZ", (6, 96)), f"{MODULE}.weight_scale": ("F32", ())},
}


@pytest.mark.parametrize("left", UNSUPPORTED.values(), ids=UNSUPPORTED)
@pytest.mark.parametrize("method", ["compressed-tensors", None])
def test_a_scheme_that_is_not_read(left: Tensors, method: str | None) -> None:
    with pytest.raises(UnsupportedError, match="in a layout that is not read here") as caught:
        check(left, method)
    assert caught.value.tensor == next(iter(left))


ORDINARY: dict[str, Tensors] = {
    "masks in bytes": {"h.0.attn.bias": ("U8", (1, 1, 16, 16)), "h.0.attn.masked_bias": ("U8", (1, 1)), "attn_mask": ("I8", (4, 4))},
    "a mask of booleans": {"h.0.attn.bias": ("BOOL", (1, 1, 16, 16)), "mask.weight": ("BOOL", (4, 4))},
    "numbers of one dimension": {"steps": ("I8", ()), "seen": ("U8", (7,)), "kind": ("F8_E4M3", (3,))},
    "other names": {"model.layer_scale": ("F32", (8,)), "norm.scale": ("F32", (8,)), "attn.k_scale": ("F32", ()), "codes": ("I64", (3, 4))},
    "floats with names of parts": {"model.num_blocks": ("F32", (4,)), "model.learned_scales": ("F32", (4, 4))},
}  # fmt: skip


@pytest.mark.parametrize("left", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("quantized", [True, False], ids=["beside codes", "alone"])
def test_an_ordinary_tensor_passes(left: Tensors, quantized: bool) -> None:
    check(left, "bitsandbytes" if quantized else None, quantized)


def test_bytes_in_a_model_that_is_not_quantized_pass() -> None:
    check({"vision.palette": ("U8", (256, 3))}, any_read=False)
    with pytest.raises(UnsupportedError):
        check({"vision.palette": ("U8", (256, 3))})
