"""What numbers a model computes with."""

from __future__ import annotations

from adapterops.quant.awq import AWQ
from adapterops.quant.fourbit import FourBit
from adapterops.quant.int8 import Int8
from adapterops.quant.transposed import Transposed
from adapterops.quant.used import decoded_to, unrounded


def test_only_four_bits_are_rounded_again() -> None:
    assert decoded_to(FourBit(dtype="BF16")) == "BF16"
    assert decoded_to(Transposed(FourBit(dtype="F16"))) == "F16"
    assert {decoded_to(Int8("BF16")), decoded_to(AWQ(128, symmetric=True))} == {"F32"}


def test_the_same_codes_unrounded() -> None:
    assert unrounded(FourBit("fp4", 128, nested=True)) == FourBit("fp4", 128, nested=True, dtype="F32")
    assert unrounded(Transposed(FourBit())) == Transposed(FourBit(dtype="F32"))
    assert unrounded(Int8("F16")) == Int8("F16")
