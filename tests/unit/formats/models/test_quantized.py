"""Every scheme is asked: what is known whatever the config says, and what is refused by its name."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from recognition import INTEGERS, NAME, laid, recognised, specs
from torch import Tensor

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.models.naming import conv1d
from adapterops.formats.models.quantized import quantized
from adapterops.quant.fourbit import FourBit
from adapterops.quant.transposed import Transposed

PLAIN = laid(FourBit())


def test_conv1d_is_known_by_its_model_type() -> None:
    name = "transformer.h.0.attn.c_attn.weight"
    weights, _ = recognised(
        {**laid(FourBit(), name, (96, 32)), **laid(FourBit(), "transformer.other.weight")}, model_type="gpt2"
    )
    assert weights[name].scheme == Transposed(FourBit())
    assert weights[name].shape == (32, 96)
    assert weights["transformer.other.weight"].scheme == FourBit()
    assert conv1d(name, {"model_type": "gpt2"})
    assert not conv1d(name, {"model_type": "llama"})
    assert recognised(laid(FourBit(), name, (96, 32)), model_type="llama")[0][name].scheme == FourBit()


def test_a_checkpoint_without_codes_has_none() -> None:
    tensors = {NAME: torch.ones(3, 4), "steps": torch.ones((), dtype=torch.int8)}
    assert recognised(tensors) == ({}, list(tensors))
    assert quantized(specs(tensors), None, lambda name: b"") == ({}, list(tensors))


FOREIGN: dict[str, tuple[dict[str, Tensor], str]] = {
    "gptq": (
        {"qweight": INTEGERS, "qzeros": INTEGERS, "scales": torch.ones(4, 4).half(), "g_idx": INTEGERS},
        "GPTQ or AWQ",
    ),
    "awq": ({"qweight": INTEGERS, "qzeros": INTEGERS, "scales": torch.ones(4, 4).half()}, "GPTQ or AWQ"),
    "auto-round": ({"qweight": INTEGERS, "qzeros": INTEGERS}, "GPTQ or AWQ"),
    "compressed-tensors": (
        {"weight_packed": INTEGERS, "weight_scale": torch.ones(4, 1), "weight_shape": INTEGERS[0]},
        "compressed-tensors",
    ),
    "modelopt": (
        {"weight": INTEGERS.byte(), "weight_scale": torch.ones(4, 1), "weight_scale_2": torch.ones(())},
        "NVFP4",
    ),
    "hqq": ({"W_q": INTEGERS.byte(), "meta": INTEGERS}, "HQQ"),
    "aqlm": ({"codes": INTEGERS, "codebooks": torch.ones(1, 4), "scales": torch.ones(4)}, "AQLM"),
    "spqr": ({"dense_weights": INTEGERS}, "SpQR"),
    "svdquant": (
        {"qweight": INTEGERS.byte(), "wscales": torch.ones(1, 4), "smooth_factor": torch.ones(4)},
        "Nunchaku's SVDQuant",
    ),
}


@pytest.mark.parametrize("method", FOREIGN)
@pytest.mark.parametrize("told", [True, False], ids=["said by the config", "of which the config says nothing"])
def test_other_formats_are_refused_by_their_name(method: str, told: bool) -> None:
    parts, name = FOREIGN[method]
    tensors = {f"model.layers.0.mlp.up_proj.{role}": tensor for role, tensor in parts.items()}
    section = {"quant_method": method, "version": "gemv", "format": "mxfp4-pack-quantized"}
    known = {"awq": "AWQ", "gptq": "GPTQ", "auto-round": "AutoRound"}
    name = known.get(method, name) if told else name  # of these the config tells which
    words = f"quantized with {name}.* not read here"
    if not told and name in ("GPTQ or AWQ", "compressed-tensors"):  # which are read where the config says how
        words = f"is a part of {name}, and no quantization_config"
    with pytest.raises(UnsupportedError, match=words) as caught:
        recognised(tensors, **({"quantization_config": section} if told else {}))
    assert caught.value.tensor
    assert caught.value.tensor.startswith("model.layers.0.mlp.up_proj.")
    assert method.replace("-", "") in str(caught.value).lower().replace("-", "") or not told


@pytest.mark.parametrize("method", ["torchao", "quanto", "eetq", "higgs", "vptq", "bitnet", "aqlm", "something new"])
@pytest.mark.parametrize("codes", [True, False], ids=["beside codes that are known", "alone"])
def test_other_methods_are_refused_by_their_name(method: str, codes: bool) -> None:
    tensors = {"model.norm.weight": torch.ones(3), **(PLAIN if codes else {})}
    with pytest.raises(UnsupportedError, match=f"quantized with {method}, which is not read here"):
        recognised(tensors, quantization_config={"quant_method": method})


def test_a_weight_of_two_schemes_is_refused() -> None:
    both = {**PLAIN, **laid(FourBit("fp4"))}
    with pytest.raises(InputError, match="has parts of nf4 and of fp4, expected one") as caught:
        recognised(both)
    assert (caught.value.tensor, caught.value.code) == (NAME, "E-QUANT")


def test_ordinary_models_ask_no_other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for them takes as long as to read a header."""
    monkeypatch.setattr("adapterops.formats.models.quantized.schemes", lambda: pytest.fail("asked"))
    assert recognised({NAME: torch.ones(3, 4).bfloat16(), "ids": torch.arange(3)})[1] == [NAME, "ids"]


def test_codes_that_a_config_tells_of_and_that_are_not_there() -> None:
    with pytest.raises(UnsupportedError, match="bitsandbytes"):
        recognised({NAME: torch.ones(3, 4)}, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


@pytest.mark.parametrize("section", [None, {}, [], "nf4", {"load_in_4bit": True}, {"quant_method": "fp8"}])
def test_codes_are_known_whatever_a_config_says(section: Any) -> None:
    assert recognised(PLAIN, quantization_config=section)[0][NAME].scheme == FourBit()


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": ["bitsandbytes"]}},
        {"model_type": ["gpt2"]},
        {"dtype": ["bfloat16"]},
        {"dtype": {}},
    ],
    ids=str,
)
def test_a_config_of_other_types_is_refused_or_has_no_say(config: dict[str, Any]) -> None:
    with suppress(UnsupportedError):
        assert recognised(PLAIN, **config)[0][NAME].scheme == FourBit()
