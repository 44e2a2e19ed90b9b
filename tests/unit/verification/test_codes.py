"""Codes: the nearest are right, and no others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codes import encode, normal, opened
from safetensors.torch import save_file
from torch import Tensor

from adapterops.checkpoints.stored import StoredTensor
from adapterops.quant.fourbit import FourBit
from adapterops.quant.int8 import Int8
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Stored
from adapterops.verification.codes import JUDGES, aligned

SHAPE = (6, 96)
W = normal(0, *SHAPE)
SCHEMES: dict[str, Any] = {"nf4": FourBit(), "fp4": FourBit("fp4"), "nested": FourBit(nested=True), "int8": Int8("F32")}


def wrong(place: Path, scheme: Any, parts: dict[str, Tensor], S: Tensor, chance: bool = False) -> int:
    save_file({role: part.contiguous() for role, part in parts.items()}, place / "parts.safetensors")
    file = SafetensorsFile(place / "parts.safetensors")
    known = opened(scheme, parts) if scheme.name == "nf4" else scheme
    stored = StoredTensor({role: Stored(file, role) for role in parts}, SHAPE, known)
    return int(np.count_nonzero(JUDGES[scheme.name](stored, known, S.double().numpy(), 0, chance)))


@pytest.mark.parametrize("name", SCHEMES)
def test_what_is_encoded_is_right_and_one_code_further_is_not(name: str, tmp_path: Path) -> None:
    scheme = SCHEMES[name]
    parts = encode(scheme.encoder(SHAPE), W)
    assert wrong(tmp_path, scheme, parts, W) == 0
    other = parts["weight"].clone()
    other.view(-1)[7] ^= 1
    assert wrong(tmp_path, scheme, {**parts, "weight": other}, W) > 0
    assert wrong(tmp_path, scheme, parts, 1.2 * W) > 0  # its scales are others


@pytest.mark.parametrize("name", ["nf4", "int8"])
def test_chance_takes_one_of_two_neighbours(name: str, tmp_path: Path) -> None:
    from codes import reader

    scheme = SCHEMES[name]
    parts = encode(scheme.encoder(SHAPE), W)
    before = scheme.decode(SHAPE, reader(parts), 0, len(W)).float().clone()
    S = before + 0.02 * normal(1, *SHAPE)
    found = {**parts, **encode(scheme.on_grid(SHAPE, reader(parts), "1"), S.clone())}
    assert wrong(tmp_path, scheme, found, S, chance=True) == 0
    assert wrong(tmp_path, scheme, found, S + 0.9 * torch.sign(W), chance=True) > 0


def test_whole_blocks_are_judged_together() -> None:
    assert (aligned(FourBit(), (6, 96)), aligned(FourBit(), (6, 128)), aligned(Int8(), (6, 96))) == (2, 1, 1)


@pytest.mark.parametrize("chance", [False, True])
@pytest.mark.parametrize(("name", "role"), [("nf4", "weight.absmax"), ("fp4", "weight.absmax"), ("int8", "SCB")])
def test_a_scale_that_is_no_number_is_never_right(name: str, role: str, chance: bool, tmp_path: Path) -> None:
    parts = encode(SCHEMES[name].encoder(SHAPE), W)
    scales = parts[role].clone()
    scales.view(-1)[1] = torch.nan
    assert wrong(tmp_path, SCHEMES[name], {**parts, role: scales}, W, chance) > 0
