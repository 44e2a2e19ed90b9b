"""What is refused of quantized weights:
numbers without a code, codes without a number, files that are incomplete or foreign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.arrays.finite import check_all_finite
from adapterops.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(numbers: Tensor, what: str = "NaN or infinite") -> None:
    """Raise InputError for numbers that no code stands for."""
    fact = f"has numbers that are {what}, which no code stands for"
    check_all_finite(numbers, fact, hint="is the checkpoint damaged?")


def check_decoded(numbers: Tensor) -> None:
    """Raise InputError for numbers that no weight has."""
    fact = "has codes or scales that stand for NaN or infinity"
    check_all_finite(numbers, fact, hint="the checkpoint is damaged; download it again")


def damaged(what: str, tensor: str | None = None) -> InputError:
    """The error for a quantized weight whose parts do not agree."""
    hint = "the checkpoint is incomplete or damaged; download it again"
    return InputError(what, tensor=tensor, hint=hint, code="E-QUANT")


def foreign(what: str, tensor: str | None = None) -> UnsupportedError:
    """The error for a weight in a scheme that is known by name only."""
    return UnsupportedError(
        f"is quantized with {what}, which is not read here",
        tensor=tensor,
        hint="use the 16-bit model it was made from, or dequantize it with its own library and save that",
    )
