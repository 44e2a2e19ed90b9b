"""Numbers without a code, and codes without a number."""

from __future__ import annotations

import pytest
import torch

from adapterops.errors import InputError, UnsupportedError
from adapterops.quant.checks import check_decoded, check_finite, damaged, foreign


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(number: float) -> None:
    tensor = torch.tensor([1.0, number])
    for check, fact in ((check_finite, "which no code stands for"), (check_decoded, "codes or scales")):
        with pytest.raises(InputError, match=fact) as caught:
            check(tensor)
        assert caught.value.code == "E-NONFINITE"
        check(torch.tensor([1.0, -2.0]))


def test_damaged_and_foreign_say_what_goes_on() -> None:
    assert (damaged("x", "w").code, damaged("x", "w").tensor) == ("E-QUANT", "w")
    error = foreign("EXL2", "w")
    assert isinstance(error, UnsupportedError)
    assert error.message == "is quantized with EXL2, which is not read here"
    assert "16-bit model" in str(error.hint)
