"""New blocks are those of the library that owns the format, byte for byte; at random, they are right on average."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type

from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.quant.ggml import Ggml
from adapterops.quant.ggml_blocks import KINDS, join
from adapterops.quant.ggml_new import NEW, new


def values(size: float = 1.0) -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    found[3], found[4], found[5, :32] = 0, np.abs(found[4]), 2.0  # nothing; of one sign; all the same
    return found * np.float32(size)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e4])
def test_the_bytes_are_those_of_gguf(name: str, size: float) -> None:
    W = values(size)
    found = join(KINDS[name], new(name, W.reshape(-1, 1, 32))).reshape(64, -1)
    expected = gguf.quantize(W, Type[name])
    assert (found == expected).mean() > 0.9999  # a number between two codes, to the last bit
    np.testing.assert_allclose(
        gguf.dequantize(found, Type[name]), gguf.dequantize(expected, Type[name]), atol=0.3 * size
    )


@pytest.mark.parametrize("name", NEW)
def test_at_random_the_mean_is_right(name: str) -> None:
    W = torch.from_numpy(values())
    total = sum(Ggml(name).encoder(W.shape, f"{seed}").rows(W, 0)[1]() for seed in range(200)) / 200
    step = {"Q8_0": 3 / 127, "Q5_1": 6 / 31, "Q5_0": 3 / 15, "Q4_1": 6 / 15, "Q4_0": 3 / 7}[name]
    assert float((total - W).abs().max()) < 0.3 * step
    assert abs(float((total - W).mean())) < 0.002 * step


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(IncompatibleError, match="does not fit float16") as raised:
        new("Q8_0", values(1e8).reshape(-1, 1, 32))
    assert "--tensor-type" in str(raised.value.hint)
    with pytest.raises(UnsupportedError, match="Q4_K is not written with new codes"):
        Ggml("Q4_K").encoder((2, 256))
