"""Scales that are powers of two, and the dtypes that numbers are used in."""

from __future__ import annotations

import pytest
import torch

from adapterops.quant.scheme import LONG_NAMES, powers_of_two, torch_dtype


def test_a_byte_is_a_power_of_two() -> None:
    found = powers_of_two(torch.tensor([0, 126, 127, 130, 254, 255], dtype=torch.uint8))
    assert found[:5].tolist() == [2.0**-127, 0.5, 1.0, 8.0, 2.0**127]
    assert found[5].isnan()


@pytest.mark.parametrize("name", LONG_NAMES)
def test_a_dtype_has_as_many_bytes_as_its_name_says(name: str) -> None:
    dtype = torch_dtype(name)
    assert dtype.is_floating_point
    assert 8 * dtype.itemsize == int(name[-2:])
