"""Norms stored as 1 + w."""

from __future__ import annotations

import torch

from adapterops.quant.one_added import OneAdded
from adapterops.testing import check_decoding


def test_one_is_taken_away() -> None:
    w = torch.tensor([0.5, -0.25, 0.0, 3.0])
    data = (w + 1).view(torch.uint8)
    check_decoding(OneAdded(), (4,), lambda role, begin, end: data[begin:end].clone())
    found = OneAdded().decode((4,), lambda role, begin, end: data[begin:end].clone(), 0, 1)
    assert torch.equal(found, w[None])
