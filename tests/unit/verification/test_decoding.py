"""Formulas of codes that share nothing with the decoders: both give the same numbers, and the libraries' do, too."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import numpy as np
import pytest
import torch
from codes import encode, normal
from gptq_models import GPTQWeight, write_gptq
from safetensors.torch import load_file, save_file
from torch import Tensor

import adapterops as ao
from adapterops.arrays import columns
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.quant.awq import AWQ
from adapterops.quant.compressed import CompressedTensors
from adapterops.quant.fourbit import FourBit
from adapterops.quant.fp8 import FP8
from adapterops.quant.gptq import GPTQ
from adapterops.quant.int8 import Int8
from adapterops.quant.mxfp4 import MXFP4
from adapterops.quant.nvfp4 import NVFP4
from adapterops.quant.scheme import Scheme
from adapterops.quant.transposed import Transposed
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Stored
from adapterops.verification.decoding import decoder
from adapterops.verification.judges import judge_of, judged_rows

SHAPE = (48, 64)


def stored(place: Path, scheme: Scheme, shape: tuple[int, ...], parts: dict[str, Tensor]) -> StoredTensor:
    save_file({role: part.contiguous() for role, part in parts.items()}, place / "parts.safetensors")
    file = SafetensorsFile(place / "parts.safetensors")
    return StoredTensor({role: Stored(file, role) for role in parts}, shape, scheme)


def words(seed: int, *shape: int) -> Tensor:
    return torch.randint(-(2**31), 2**31 - 1, shape, generator=torch.Generator().manual_seed(seed)).int()


def made(kind: str) -> tuple[Scheme, tuple[int, ...], dict[str, Tensor]]:
    """A scheme, a shape, and random parts."""
    out, into = SHAPE
    half = normal(1, 4, out).abs().half() + 0.01
    if kind in ("nf4", "fp4", "nested", "int8"):
        scheme: Any = (
            Int8("F32") if kind == "int8" else FourBit("fp4" if kind == "fp4" else "nf4", nested=kind == "nested")
        )
        return scheme, SHAPE, encode(scheme.encoder(SHAPE), normal(3, *SHAPE))
    if kind == "fp8":
        parts = {"weight": normal(2, *SHAPE).to(torch.float8_e4m3fn), "weight_scale_inv": normal(4, 3, 4).abs()}
        return FP8((20, 16), "weight_scale_inv", "F8_E4M3", "F32", (3, 4)), SHAPE, parts
    if kind == "mxfp4":
        blocks = torch.randint(0, 256, (2, 48, 2, 16), dtype=torch.uint8)
        scales = torch.randint(110, 135, (2, 48, 2), dtype=torch.uint8)
        return MXFP4(), (2, 64, 48), {"_blocks": blocks, "_scales": scales}
    if kind == "nvfp4":
        packed = torch.randint(0, 256, (out, into // 2), dtype=torch.uint8)
        scales = normal(5, out, into // 16).abs().mul(40).to(torch.float8_e4m3fn)
        return (
            NVFP4("weight_global_scale", (1,)),
            SHAPE,
            {"weight_packed": packed, "weight_scale": scales, "weight_global_scale": torch.tensor([270.3])},
        )
    if kind == "awq":
        parts = {"qweight": words(1, into, out // 8), "scales": half, "qzeros": words(2, 4, out // 8)}
        return AWQ(16, symmetric=False), SHAPE, parts
    packed = {"weight_packed": words(3, out, into // 8), "weight_scale": half.T, "weight_shape": torch.tensor(SHAPE)}
    zeros = {} if kind == "symmetric" else {"weight_zero_point": words(4, out // 8, 4)}
    return CompressedTensors(4, 16, kind == "symmetric"), SHAPE, {**packed, **zeros}


KINDS = ["nf4", "fp4", "nested", "int8", "fp8", "mxfp4", "nvfp4", "awq", "symmetric", "compressed"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_decoders_agree_to_the_last_bits_of_float32(kind: str, tmp_path: Path) -> None:
    scheme, shape, parts = made(kind)
    weight = stored(tmp_path, scheme, shape, parts)
    rows = decoder(weight, rounded=True)
    height = int(np.prod(shape[:-1]))
    theirs = scheme.decode(shape, weight.read, 0, height).double().numpy().copy()
    assert np.allclose(rows(0, height), theirs, rtol=2.0**-22, atol=0)
    assert np.array_equal(rows(5, 9), rows(0, height)[5:9])


@pytest.mark.parametrize("kind", ["awq", "compressed", "symmetric", "fp8", "mxfp4"])
def test_decoding_loses_nothing_that_float32_has(kind: str, tmp_path: Path) -> None:
    """Each of these is a number of few bits times a scale: float32 has its nearest number, and bfloat16 does not."""
    scheme, shape, parts = made(kind)
    weight = stored(tmp_path, scheme, shape, parts)
    rows, height = decoder(weight), int(np.prod(shape[:-1]))
    exact = rows(0, height)
    found = scheme.decode(shape, weight.read, 0, height)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), exact.astype(np.float32))


def test_gptq_against_the_packer(tmp_path: Path) -> None:
    for bits in (2, 3, 4, 8):
        weight = GPTQWeight.random(32, 64, bits, 16, ordered=True)
        base = open_checkpoint(write_gptq(tmp_path / str(bits), {"fc": weight}, 16))
        rows = decoder(base.stored["fc.weight"])
        assert np.array_equal(rows(0, 32), weight.formula().numpy())


@pytest.mark.parametrize("transposed", [False, True])
def test_a_scheme_of_another_package_is_what_it_decodes_to(transposed: bool) -> None:
    """In whole groups of its rows, of which the last may be smaller."""
    W = torch.arange(15.0).view(5, 3)
    scheme: Any = _Unknown(W)
    weight = StoredTensor({}, (3, 5), Transposed(scheme)) if transposed else StoredTensor({}, (5, 3), scheme)
    expected = (W.T if transposed else W).double().numpy()
    for begin, end in ((0, 3), (1, 2), (2, 3)):
        assert np.array_equal(decoder(weight)(begin, end), expected[begin:end])


class _Unknown:
    name = "another"

    def __init__(self, numbers: torch.Tensor) -> None:
        self.numbers = numbers

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 2

    def decode(self, shape: tuple[int, ...], read: Any, begin: int, end: int) -> torch.Tensor:
        assert begin % 2 == 0
        assert end % 2 == 0 or end == len(self.numbers)
        return self.numbers[begin:end]


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_against_bitsandbytes(kind: str, tmp_path: Path) -> None:
    W = normal(0, *SHAPE)
    packed, state = bnb.functional.quantize_4bit(W, blocksize=64, quant_type=kind)
    scheme = FourBit(kind, dtype="F32")
    parts = {"weight": packed, "weight.absmax": state.absmax}
    rows = decoder(stored(tmp_path, scheme, SHAPE, parts))
    theirs = bnb.functional.dequantize_4bit(packed, state).double().numpy()
    assert np.allclose(rows(0, 48), theirs, rtol=2.0**-23, atol=0)


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8"])
def test_dequantizing_to_float32_never_goes_through_16_bits(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    save_file({"model.q_proj.weight": normal(0, 64, 64).bfloat16()}, tmp_path / "base/model.safetensors")
    ao.save_checkpoint(ao.quantize(open_checkpoint(tmp_path / "base"), scheme), tmp_path / "codes")
    codes = open_checkpoint(tmp_path / "codes")
    rows = decoder(codes.stored["model.q_proj.weight"])
    ao.save_checkpoint(ao.dequantize(codes, "F32"), tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")["model.q_proj.weight"].numpy()
    assert np.allclose(found, rows(0, 64), rtol=2.0**-22, atol=0)
    assert not np.array_equal(found, torch.from_numpy(found).bfloat16().float().numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_any_rows_are_those_of_the_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they begin in a word, a group or a block, and however narrow the bands are in which a file is read."""
    monkeypatch.setattr(columns, "BAND", 256)
    scheme, shape, parts = made(kind)
    rows, height = decoder(stored(tmp_path, scheme, shape, parts)), int(np.prod(shape[:-1]))
    whole = rows(0, height)
    for begin, end in [(0, 1), (1, 2), (3, 13), (7, 8), (15, 47), (31, 33), (height - 1, height), (5, height)]:
        assert np.array_equal(rows(begin, end), whole[begin:end])


@pytest.mark.parametrize("kind", ["gptq", "awq", "compressed", "mxfp4"])
def test_a_large_weight_is_judged_in_the_memory_of_a_tile(kind: str, tmp_path: Path) -> None:
    scheme, shape, parts = large(kind)
    weight, height = stored(tmp_path, scheme, shape, parts), int(np.prod(shape[:-1]))
    judge = judge_of(weight, stochastic=True)
    assert judge
    assert judged_rows(weight) == 1
    tracemalloc.start()
    for begin in range(0, height, 64):
        S = judge.value(begin, begin + 64)
        assert not judge(S, 0 * S, begin, begin + 64)[0].any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # of 2^22 entries one array in float64 takes half of that


def large(kind: str) -> tuple[Scheme, tuple[int, ...], dict[str, Tensor]]:
    out = into = 2048
    scales = normal(1, 16, out).abs().half() + 0.01
    if kind == "mxfp4":
        blocks = torch.randint(0, 256, (1, out, into // 32, 16), dtype=torch.uint8)
        return (
            MXFP4(),
            (1, into, out),
            {"_blocks": blocks, "_scales": torch.full((1, out, into // 32), 120).to(torch.uint8)},
        )
    if kind == "gptq":
        parts = {"qweight": words(1, into // 8, out), "qzeros": words(2, 16, out // 8), "scales": scales}
        return GPTQ(4, 128, ordered=False), (out, into), parts
    if kind == "awq":
        parts = {"qweight": words(1, into, out // 8), "qzeros": words(2, 16, out // 8), "scales": scales}
        return AWQ(128, symmetric=False), (out, into), parts
    packed = {
        "weight_packed": words(1, out, into // 8),
        "weight_scale": scales.T,
        "weight_shape": torch.tensor([out, into]),
    }
    return (
        CompressedTensors(4, 128, symmetric=False),
        (out, into),
        {**packed, "weight_zero_point": words(2, out // 8, 16)},
    )
