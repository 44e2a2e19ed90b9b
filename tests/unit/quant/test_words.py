"""Codes in words: what was packed bit by bit comes out, whatever the number of bits."""

from __future__ import annotations

import pytest
import torch
from gptq_models import packed
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from adapterops.errors import InputError
from adapterops.quant.words import group_size, unpacked, words


@examples(max_examples=50)
@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_codes_come_out_as_they_were_packed(bits: int, rows: int, periods: int, seed: int) -> None:
    codes = torch.randint(0, 1 << bits, (rows, 32 * periods), generator=torch.Generator().manual_seed(seed))
    stored = packed(codes, bits)
    assert stored.shape == (rows, words(32 * periods, bits))
    assert torch.equal(unpacked(stored, bits).long(), codes)


def test_a_part_of_a_word_takes_a_word() -> None:
    assert [words(n, 3) for n in (0, 1, 10, 11, 32)] == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("size", [0, -1, 5, True, None, "8", 8.0])
def test_groups_are_whole_numbers_that_divide_the_columns(size: object) -> None:
    assert group_size(4, 8, 32) == 8
    with pytest.raises(InputError, match="groups that divide 32"):
        group_size(4, size, 32)
