"""Schemes keep their laws, and what breaks one is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from codes import reader
from gptq_models import GPTQWeight

from adapterops.quant.gptq import GPTQ
from adapterops.quant.int8 import Int8
from adapterops.quant.registry import make, written
from adapterops.testing import check_decoding, check_scheme


@pytest.mark.parametrize("name", written())
def test_every_written_scheme_keeps_its_laws(name: str) -> None:
    check_scheme(make(name, "F32"), range(3))


def test_a_scheme_that_is_only_read() -> None:
    weight = GPTQWeight.random(64, 96, 4, 32, ordered=True)
    check_decoding(GPTQ(4, 32, offset=1, dtype="F16"), (64, 96), reader(weight.stored(1)))


@dataclass(frozen=True)
class Nearest(Int8):
    """Its stochastic rounding is none."""

    def on_grid(self, shape: Any, read: Any, key: str) -> Any:
        return super().on_grid(shape, read, "always the same")


def test_rounding_that_is_not_random_is_found() -> None:
    with pytest.raises(AssertionError, match="stochastic rounding has the gain"):
        check_scheme(Nearest(dtype="F32"), range(1))


@dataclass(frozen=True)
class Shifted(Int8):
    """Rows that begin in the middle are those before."""

    def decode(self, shape: Any, read: Any, begin: int, end: int) -> Any:
        return super().decode(shape, read, max(0, begin - 1), max(0, begin - 1) + end - begin)


def test_rows_that_decode_otherwise_on_their_own_are_found() -> None:
    with pytest.raises(AssertionError, match="decode otherwise on their own"):
        check_scheme(Shifted(dtype="F32"), range(1))
