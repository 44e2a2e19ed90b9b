from __future__ import annotations

import bitsandbytes.functional as bnb
import pytest
import torch
from codes import normal
from torch import Tensor

from adapterops.arrays.scratch import Scratch
from adapterops.quant.tables import Lookup, codebook, dynamic_map

BOTH = pytest.mark.parametrize("kind", ["nf4", "fp4"])


@BOTH
def test_the_numbers_are_those_of_bitsandbytes(kind: str) -> None:
    theirs = bnb.get_4bit_type(kind, device="cpu")
    assert torch.equal(codebook(kind).values, theirs)
    assert torch.equal(codebook(kind).values.signbit(), theirs.signbit())  # of the two zeros, too


def test_the_dynamic_map_is_that_of_bitsandbytes() -> None:
    assert torch.equal(dynamic_map(), bnb.create_dynamic_map())


@BOTH
def test_the_numbers_are_in_order_and_those_of_the_grid_differ(kind: str) -> None:
    book = codebook(kind)
    assert sorted(book.order.tolist()) == list(range(16))
    assert (book.values[book.order.long()].diff() >= 0).all()
    assert (book.grid.diff() > 0).all()
    assert set(book.grid.tolist()) == set(book.values.tolist())


@BOTH
def test_a_byte_is_two_numbers_the_high_half_first(kind: str) -> None:
    book = codebook(kind)
    for byte, pair in enumerate(book.pairs.view(torch.float32).view(256, 2)):
        assert pair.tolist() == [book.values[byte // 16], book.values[byte % 16]]


def around(numbers: Tensor) -> Tensor:
    """The numbers, those beside them, and many more in [-1, 1], with the edges of all bins."""
    edges = torch.arange(-8300, 8301) / 8191
    found = torch.cat(
        [numbers, edges, normal(0, 20_000) / 4, torch.linspace(-1, 1, 4001), torch.tensor([0.0, -0.0, 1e-45, -1e-45])]
    )
    up, down = (torch.nextafter(found, torch.tensor(limit)) for limit in (2.0, -2.0))
    return torch.cat([found, up, down]).clamp(-1 - 1.2e-7, 1 + 1.2e-7)


@pytest.mark.parametrize(
    ("kind", "which"), [("nf4", "nearest"), ("fp4", "nearest"), ("nf4", "floor"), ("fp4", "floor")]
)
def test_a_lookup_counts_the_thresholds_exactly(kind: str, which: str) -> None:
    book = codebook(kind)
    ascending = book.values[book.order.long()]
    thresholds = (ascending[:-1] + ascending[1:]) / 2 if which == "nearest" else book.grid[1:]
    s = around(thresholds)
    lookup: Lookup = getattr(book, which)
    passed = thresholds < s[:, None] if which == "nearest" else thresholds <= s[:, None]
    assert torch.equal(lookup(s.view(1, -1), torch.ones(1), Scratch()).long(), passed.sum(dim=1))
