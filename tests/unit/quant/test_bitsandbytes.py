"""The kernel of bitsandbytes, on its CPU backend through the code that a GPU runs; and where it may not be used."""

from __future__ import annotations

import importlib.util
import math

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch
from codes import DTYPES, encode, normal, same, weights
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from adapterops.errors import InputError, NotFoundError
from adapterops.quant import bitsandbytes
from adapterops.quant.fourbit import FourBit
from adapterops.quant.int8 import Int8
from adapterops.quant.scheme import Writable
from adapterops.quant.tables import NF4

SCHEMES: dict[str, Writable] = {
    "nf4": FourBit(),
    "nested nf4": FourBit(nested=True),
    "nf4 in large blocks": FourBit(block_size=256),
    "fp4": FourBit("fp4"),
    "nested fp4": FourBit("fp4", nested=True),
    "int8": Int8(),
}


def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The kernel is used on the CPU; the dtypes of what it is given."""
    seen: list[torch.dtype] = []
    theirs = bnb.quantize_4bit

    def spied(A: Tensor, **options: object) -> object:
        seen.append(A.dtype)
        return theirs(A, **options)

    monkeypatch.setattr(bitsandbytes, "DEVICES", ("cpu",))
    monkeypatch.setattr(bnb, "quantize_4bit", spied)
    return seen


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("shape", [(256, 512), (57, 333)], ids=str)
def test_its_bytes_are_ours(
    scheme: Writable, dtype: torch.dtype, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    W = (0.02 * normal(1, *shape)).to(dtype)
    ours = encode(scheme.encoder(shape), W)
    seen = calls(monkeypatch)
    assert same(encode(scheme.encoder(shape), W), ours)
    assert bool(seen) == (scheme.name == "nf4" and dtype == torch.bfloat16)


@examples(max_examples=50)
@given(weights(dtypes=("BF16",)), st.booleans())
def test_so_are_those_of_extreme_numbers(W: Tensor, nested: bool) -> None:
    scheme = FourBit(nested=nested)
    ours = encode(scheme.encoder(W.shape), W)
    with pytest.MonkeyPatch.context() as monkeypatch:
        calls(monkeypatch)
        assert same(encode(scheme.encoder(W.shape), W), ours)


@pytest.mark.parametrize("number", [0.0, 1e-32, 1e32])
def test_blocks_that_a_gpu_may_round_otherwise_are_left_to_us(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    calls(monkeypatch)
    blocks = normal(2, 8, 64).bfloat16().float()
    assert bitsandbytes.four_bit(blocks, "nf4") is not None
    blocks[3] = torch.tensor(number).bfloat16().float()
    assert bitsandbytes.four_bit(blocks, "nf4") is None


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_no_code_stands_for_are_refused(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    calls(monkeypatch)
    W = normal(3, 4, 64).bfloat16()
    W[2, 5] = number
    with pytest.raises(InputError, match="NaN or infinite"):
        encode(FourBit().encoder(W.shape), W)


def test_no_inexact_reciprocal_moves_a_code_of_bfloat16() -> None:
    """All quotients of two numbers of eight bits, and of the thresholds;
    a GPU's reciprocal is off by two units at most.
    """
    numbers = np.array(NF4, np.float32)
    thresholds = (numbers[:-1] + numbers[1:]) / 2
    mantissas = np.arange(128, 256, dtype=np.float32)
    exact = np.float32(1) / mantissas
    for exponent in range(8):
        x = np.concatenate([mantissas, -mantissas]) * np.float32(2.0**-exponent)
        codes = np.searchsorted(thresholds, x[:, None] * exact, "left")
        for direction in (-np.inf, np.inf):
            reciprocal = exact
            for _ in range(4):
                reciprocal = np.nextafter(reciprocal, np.float32(direction))
                off = np.searchsorted(thresholds, x[:, None] * reciprocal, "left")
                assert (off == codes)[np.abs(x[:, None] * exact) <= 1.001].all()


def test_a_gpu_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes.check_installed()
    monkeypatch.setattr(
        bitsandbytes, "find_spec", lambda name: None if name == "bitsandbytes" else importlib.util.find_spec(name)
    )
    with pytest.raises(NotFoundError, match="--device cuda needs bitsandbytes") as caught:
        bitsandbytes.check_installed()
    assert (caught.value.code, caught.value.exit_code) == ("E-NOT-INSTALLED", 5)
    assert "pip install 'adapterops[gpu]'" in str(caught.value.hint)
