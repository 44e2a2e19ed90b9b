"""What a base is after NF4, against what quantizing and decoding make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from merged_models import base, write

import adapterops
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.decoding import decoder
from adapterops.verification.diagnosis.grounds import of_checkpoint, only_rounded, through

NAME = "model.layers.1.mlp.down_proj.weight"


def test_through_nf4(tmp_path: Path) -> None:
    opened = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    adapterops.save_checkpoint(adapterops.quantize(opened, "nf4"), tmp_path / "nf4")
    quantized = adapterops.dequantize(open_checkpoint(tmp_path / "nf4")).tensors[NAME]
    ground = through(opened, of_checkpoint(opened, opened.layout), "nf4")(NAME)
    assert ground is not None
    for begin, end in [(0, 64), (5, 6), (13, 40)]:
        assert np.array_equal(ground(begin, end), quantized[begin:end].double().numpy())


def test_norms_are_not_quantized(tmp_path: Path) -> None:
    opened = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    assert through(opened, of_checkpoint(opened, opened.layout), "nf4")("model.norm.weight") is None


def test_names_of_another_checkpoint(tmp_path: Path) -> None:
    tensors = base(1, torch.float16)
    opened = open_checkpoint(write(tmp_path / "base", tensors))
    wrapped = {name.replace("model.", "model.language_model.", 1): each for name, each in tensors.items()}
    there = of_checkpoint(open_checkpoint(write(tmp_path / "other", wrapped)), opened.layout)(NAME)
    own = decoder(opened.stored[NAME])
    assert there is not None
    assert own is not None
    assert np.array_equal(there(0, 9), own(0, 9))
    assert of_checkpoint(opened, opened.layout)("nothing.like.it.weight") is None


@pytest.mark.parametrize("rows", [-1, 1])
def test_a_tensor_of_another_shape_is_none_of_it(tmp_path: Path, rows: int) -> None:
    """As of an embedding that was made longer."""
    opened = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    height, width = opened.layout[NAME].shape
    layout = {**opened.layout, NAME: opened.layout[NAME]._replace(shape=(height + rows, width))}
    assert of_checkpoint(opened, layout)(NAME) is None


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8"])
def test_rounding_alone(tmp_path: Path, scheme: str) -> None:
    """Of a base that was quantized, and of one to which something was added before."""
    opened = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    adapterops.save_checkpoint(adapterops.quantize(opened, scheme), tmp_path / "codes")
    assert only_rounded(open_checkpoint(tmp_path / "codes"), opened, NAME) == scheme
    tensors = base(1, torch.float16)
    tensors[NAME] += 0.001 * torch.randn(tensors[NAME].shape, generator=torch.Generator().manual_seed(1)).half()
    changed = open_checkpoint(write(tmp_path / "changed", tensors))
    adapterops.save_checkpoint(adapterops.quantize(changed, scheme), tmp_path / "other")
    assert only_rounded(open_checkpoint(tmp_path / "other"), opened, NAME) is None
    assert only_rounded(changed, opened, NAME) is None


def test_through_nf4_and_back(tmp_path: Path) -> None:
    opened = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    adapterops.save_checkpoint(adapterops.quantize(opened, "nf4"), tmp_path / "nf4")
    adapterops.save_checkpoint(adapterops.dequantize(open_checkpoint(tmp_path / "nf4")), tmp_path / "back")
    assert only_rounded(open_checkpoint(tmp_path / "back"), opened, NAME) == "nf4"
    assert only_rounded(opened, open_checkpoint(tmp_path / "nf4"), NAME) is None


def test_what_is_no_number_was_not_only_rounded(tmp_path: Path) -> None:
    opened = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    tensors = base(1, torch.float16)
    tensors[NAME][:] = torch.nan
    assert only_rounded(open_checkpoint(write(tmp_path / "nan", tensors)), opened, NAME) is None
