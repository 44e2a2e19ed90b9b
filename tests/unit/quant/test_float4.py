"""Floats in 4 bits: their numbers are those of the format's definition, and bytes are taken apart and put together."""

from __future__ import annotations

import torch

from adapterops.quant.float4 import NUMBERS, halves, in_bytes


def test_the_numbers_are_those_of_a_sign_two_bits_of_exponent_and_one_of_mantissa() -> None:
    for code, number in enumerate(NUMBERS):
        sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
        size = (1 + mantissa / 2) * 2 ** (exponent - 1) if exponent else mantissa / 2
        assert number == (-size if sign else size)


def test_every_byte_is_two_codes_the_low_half_first() -> None:
    stored = torch.arange(256).to(torch.uint8)
    codes = halves(stored)
    assert codes[:6].tolist() == [0, 0, 1, 0, 2, 0]
    assert torch.equal(codes[::2].int() + 16 * codes[1::2].int(), stored.int())
    assert torch.equal(in_bytes(codes), stored)
    assert torch.equal(in_bytes(codes.view(64, 8)), stored)
