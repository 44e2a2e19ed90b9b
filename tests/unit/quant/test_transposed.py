"""A transposed weight is stored as its transpose is."""

from __future__ import annotations

import torch
from codes import decode, encode, normal, reader, same

from adapterops.quant.fourbit import FourBit
from adapterops.quant.int8 import Int8
from adapterops.quant.transposed import Transposed

WIDE = Int8("F32")


def test_four_bits_are_those_of_the_transpose() -> None:
    W = normal(9, 96, 40)
    scheme, transposed = FourBit(dtype="F32"), Transposed(FourBit(dtype="F32"))
    found = encode(transposed.encoder(W.shape), W)
    assert same(found, encode(scheme.encoder((40, 96)), W.T.contiguous()))
    assert transposed.parts((96, 40)) == scheme.parts((40, 96))
    assert transposed.granularity((96, 40)) == 96
    expected = decode(scheme, (40, 96), found).T
    assert torch.equal(transposed.decode((96, 40), reader(found), 3, 50), expected[3:50])
    _, stands_for = transposed.encoder(W.shape).rows(W, 0)
    assert torch.equal(stands_for(), expected)
    grid = transposed.on_grid((96, 40), reader(found), "key")
    assert same(encode(grid, expected), found)


def test_eight_bits_are_those_of_the_transpose() -> None:
    W = normal(10, 30, 20)
    found = encode(Transposed(WIDE).encoder(W.shape), W)
    assert same(found, encode(WIDE.encoder((20, 30)), W.T.contiguous()))
    assert torch.equal(Transposed(WIDE).decode((30, 20), reader(found), 0, 30), decode(WIDE, (20, 30), found).T)
