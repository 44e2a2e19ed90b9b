"""Codes: the nearest are right, and no others are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from codes import encode, normal, opened
from safetensors.torch import save_file
from torch import Tensor

from adapterops.checkpoints.stored import StoredTensor
from adapterops.quant.fourbit import FourBit
from adapterops.quant.ggml import Ggml
from adapterops.quant.ggml_blocks import KINDS, Fields, join
from adapterops.quant.ggml_grid import nearest
from adapterops.quant.ggml_new import NEW, new
from adapterops.quant.int8 import Int8
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Spec, Stored
from adapterops.verification.codes import JUDGES, aligned, as_new_blocks, off_grid

SHAPE = (6, 96)
W = normal(0, *SHAPE)
SCHEMES: dict[str, Any] = {"nf4": FourBit(), "fp4": FourBit("fp4"), "nested": FourBit(nested=True), "int8": Int8("F32")}


def wrong(place: Path, scheme: Any, parts: dict[str, Tensor], S: Tensor, stochastic: bool = False) -> int:
    save_file({role: part.contiguous() for role, part in parts.items()}, place / "parts.safetensors")
    file = SafetensorsFile(place / "parts.safetensors")
    known = opened(scheme, parts) if scheme.name == "nf4" else scheme
    stored = StoredTensor({role: Stored(file, role) for role in parts}, SHAPE, known)
    return int(np.count_nonzero(JUDGES[scheme.name](stored, known, S.double().numpy(), 0, stochastic)))


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
    assert wrong(tmp_path, scheme, found, S, stochastic=True) == 0
    assert wrong(tmp_path, scheme, found, S + 0.9 * torch.sign(W), stochastic=True) > 0


def test_whole_blocks_are_judged_together() -> None:
    assert (aligned(FourBit(), (6, 96)), aligned(FourBit(), (6, 128)), aligned(Int8(), (6, 96))) == (2, 1, 1)


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize(("name", "role"), [("nf4", "weight.absmax"), ("fp4", "weight.absmax"), ("int8", "SCB")])
def test_a_scale_that_is_no_number_is_never_right(name: str, role: str, stochastic: bool, tmp_path: Path) -> None:
    parts = encode(SCHEMES[name].encoder(SHAPE), W)
    scales = parts[role].clone()
    scales.view(-1)[1] = torch.nan
    assert wrong(tmp_path, SCHEMES[name], {**parts, role: scales}, W, stochastic) > 0


@dataclass
class Held:
    """A file in memory."""

    data: Any

    def read(self, name: str, begin: int, end: int) -> bytes:
        found: bytes = self.data.reshape(-1)[begin:end].tobytes()
        return found


def blocks_of(name: str, fields: Fields, rows: int) -> StoredTensor:
    """A tensor in memory, of so many rows."""
    data = join(KINDS[name], fields).reshape(rows, -1)
    spec = Spec("U8", data.shape)
    part: Any = SimpleNamespace(file=Held(data), name="", spec=spec)
    return StoredTensor({"": part}, (rows, 256), Ggml(name))


NUMBERS = np.random.default_rng(0).standard_normal((16, 256)).astype(np.float32)
NUMBERS[3], NUMBERS[4], NUMBERS[5] = 0, np.abs(NUMBERS[4]), NUMBERS[5] + 3
NUMBERS[6, :32] *= 50
NUMBERS[7] *= 1e-4


def judged(name: str, fields: Fields, stochastic: bool = False) -> float:
    stored = blocks_of(name, fields, len(NUMBERS))
    S = NUMBERS.astype(np.float64)
    off = JUDGES[name](stored, stored.scheme, S, 0, stochastic) & ~as_new_blocks(stored, stored.scheme, S, 0)
    return float((off | off_grid(stored, stored.scheme, S, 0, stochastic)).mean())


@pytest.mark.parametrize("reaching", [False, True])
@pytest.mark.parametrize("name", NEW)
def test_new_blocks_are_right_and_those_with_another_scale_are_not(name: str, reaching: bool) -> None:
    kind = KINDS[name]
    values = NUMBERS.reshape(-1, kind.groups, 256 // kind.groups if kind.scales else 32)
    fields = new(name, values, reaching=reaching)
    assert judged(name, fields, reaching) == 0
    for by in (0.5, 2.0):  # with the codes that are nearest on that grid, which nothing else shows
        other = fields._replace(d=(fields.d.astype(np.float32) * by).astype(np.float16))
        step, below = other.steps()
        with np.errstate(all="ignore"):
            codes = nearest(kind, np.where(step == 0, 0, (values + below) / step)).astype(np.int16)
        assert judged(name, other._replace(codes=codes), reaching) > 0.6, by
    if fields.dmin is not None:
        for by in (0.5, 2.0):
            other = fields._replace(dmin=(fields.dmin.astype(np.float32) * by).astype(np.float16))
            step, below = other.steps()
            with np.errstate(all="ignore"):
                codes = nearest(kind, np.where(step == 0, 0, (values + below) / step)).astype(np.int16)
            assert judged(name, other._replace(codes=codes), reaching) > 0.6, by


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_new_blocks_of_tiny_numbers_are_right(name: str) -> None:
    """Whose scales are among the smallest numbers of float16, so that half a step was another, too."""
    numbers = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32) * np.float32(1e-6)
    stored = blocks_of(name, new(name, numbers.reshape(-1, 1, 32)), len(numbers))
    S = numbers.astype(np.float64)
    off = JUDGES[name](stored, stored.scheme, S, 0, False) & ~as_new_blocks(stored, stored.scheme, S, 0)
    assert not (off | off_grid(stored, stored.scheme, S, 0, False)).any()


@pytest.mark.parametrize(("name", "by"), [("Q6_K", 0.975), ("Q5_K", 31 / 32), ("Q4_0", 0.92), ("Q5_0", 0.92)])
def test_steps_as_small_as_llama_cpp_tries_are_right(name: str, by: float) -> None:
    """A step that cuts off a little of the largest numbers, with the codes nearest on it."""
    kind = KINDS[name]
    numbers = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    values = numbers.reshape(-1, kind.groups, 256 // kind.groups if kind.scales else 32)
    fields = new(name, values)
    fields = fields._replace(d=(fields.d.astype(np.float32) * by).astype(np.float16))
    step, below = fields.steps()
    codes = nearest(kind, np.where(step == 0, 0, (values + below) / step)).astype(np.int16)
    stored = blocks_of(name, fields._replace(codes=codes), len(numbers))
    assert not off_grid(stored, stored.scheme, numbers.astype(np.float64), 0, False).any()
