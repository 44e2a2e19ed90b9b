"""MXFP4 by row: what compressed-tensors packs is read, and its numbers are those of the formula."""

from __future__ import annotations

import pytest
import torch
from codes import reader
from quantized_layouts import MX4, OUT, compressed
from torch import Tensor

from adapterops.errors import UnsupportedError
from adapterops.quant.float4 import NUMBERS
from adapterops.quant.header import Header
from adapterops.quant.mxfp4_rows import MXFP4Rows
from adapterops.quant.scheme import LONG_NAMES, Part

NAMES = {**{getattr(torch, long): short for short, long in LONG_NAMES.items()}, torch.uint8: "U8"}
TENSOR = "model.q_proj.weight"


def header(parts: dict[str, Tensor], **said: object) -> Header:
    groups = {"group_0": {"targets": ["Linear"], "weights": {**MX4, **said}}}
    config = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}
    entries = {f"model.q_proj.{role}": Part(NAMES[each.dtype], tuple(each.shape)) for role, each in parts.items()}
    return Header(entries, config, lambda name: b"", lambda name: None)


def test_each_number_is_a_code_times_a_power_of_two() -> None:
    parts, expected = compressed(MX4, "mxfp4-pack-quantized")
    claim = MXFP4Rows.detect(header(parts), TENSOR, "weight_packed")
    assert claim is not None
    assert (claim.scheme, claim.shape) == (MXFP4Rows(), tuple(expected.shape))
    found = claim.scheme.decode(claim.shape, reader(parts), 0, OUT)
    assert torch.equal(found, expected)
    codes, scales = parts["weight_packed"][7, 40], parts["weight_scale"][7, 80 // 32]
    for column, code in ((80, codes & 15), (81, codes >> 4)):
        assert float(found[7, column]) == NUMBERS[int(code)] * 2.0 ** (int(scales) - 127)


def test_other_floats_of_four_bits_are_refused() -> None:
    parts, _ = compressed(MX4, "mxfp4-pack-quantized")
    with pytest.raises(UnsupportedError, match="another way than MXFP4 or NVFP4"):
        MXFP4Rows.detect(header(parts, group_size=64), TENSOR, "weight_packed")
    whole = {**parts, "weight_global_scale": torch.ones(1)}
    assert MXFP4Rows.detect(header(whole), TENSOR, "weight_packed") is None
