"""AWQ is known by the config: what is broken or of another variant is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recognition import NAME, Tensors, recognised

from adapterops.errors import InputError, UnsupportedError
from adapterops.quant.header import key


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


@pytest.mark.parametrize("zeros", [True, False])
def test_those_of_auto_round(zeros: bool) -> None:
    section = {"quant_method": "auto-round", "bits": 4, "group_size": 4, "packing_format": "auto_round:auto_awq"}
    parts = {name: each for name, each in awq().items() if zeros or "qzeros" not in name}
    own = {"quant_method": "awq", "bits": 4, "group_size": 4, "zero_point": zeros}
    found, expected = (recognised(parts, quantization_config=each)[0][NAME] for each in (section, own))
    assert found == expected


@pytest.mark.parametrize("version", ["gemv", "gemv_fast", "ipex", "exllama"])
def test_other_layouts_are_refused_by_their_name(version: str) -> None:
    section = {"quant_method": "awq", "bits": 4, "group_size": 4, "version": version}
    with pytest.raises(UnsupportedError, match=f"AWQ of another variant .*{version}") as caught:
        recognised(awq(), quantization_config=section)
    assert "16-bit model" in str(caught.value.hint)
