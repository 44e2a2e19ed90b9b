"""The table of types is gguf's."""

from __future__ import annotations

import gguf

from adapterops.arrays.ggml import BLOCKS


def test_types_have_the_numbers_and_sizes_that_gguf_says() -> None:
    for number, kind in BLOCKS.items():
        known = gguf.GGMLQuantizationType(number)
        assert kind == (known.name, *gguf.GGML_QUANT_SIZES[known])
