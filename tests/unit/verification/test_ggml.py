"""The second formulas of ggml's blocks, against gguf."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf_models import CODED, coded

from adapterops.verification.ggml import TERMS, terms


@pytest.mark.parametrize("type_", CODED, ids=lambda each: each.name)
def test_values_are_those_of_gguf(type_: Type) -> None:
    data = coded(np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32), type_)
    found = terms(data, type_.name, 8)
    np.testing.assert_allclose(
        found.step * found.code - found.below, gguf.dequantize(data, type_), rtol=1e-6, atol=1e-6
    )
    assert np.isin(found.code, found.numbers).all()
    assert (np.diff(found.numbers) > 0).all()


def test_there_is_one_for_every_type_that_is_decoded() -> None:
    assert TERMS.keys() == {type_.name for type_ in CODED}
