from __future__ import annotations

from adapterops.arrays.dtypes import WIDE, bits
from adapterops.arrays.ggml import Q8


def test_blocks_take_what_ggml_stores() -> None:
    assert Q8.name == WIDE
    assert bits(WIDE) == 8 * Q8.bytes / Q8.entries
    assert bits("BF16") == 16
