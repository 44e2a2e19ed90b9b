from __future__ import annotations

import math

import pytest
import torch

from adapterops.arrays.finite import all_finite, check_all_finite
from adapterops.errors import InputError


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("place", [0, 17, 1000, 4099])
def test_one_number_that_is_not_finite_is_found(dtype: torch.dtype, place: int) -> None:
    numbers = torch.linspace(-3, 3, 4100).to(dtype).view(4, -1)
    assert all_finite(numbers)
    assert all_finite(numbers[:0])
    for number in (math.nan, math.inf, -math.inf):
        numbers.view(-1)[place] = number
        assert not all_finite(numbers)


def test_the_error_says_what_and_where() -> None:
    check_all_finite(torch.ones(3))
    with pytest.raises(InputError, match="has numbers that are NaN or infinite") as caught:
        check_all_finite(torch.tensor([1.0, math.nan]), path="file", tensor="w", hint="download it again")
    found = caught.value
    assert (found.path, found.tensor, found.hint, found.code) == ("file", "w", "download it again", "E-NONFINITE")
