"""New blocks are those of the library that owns the format, byte for byte; at random, they are right on average."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type

from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.quant.ggml import SIZES, Ggml
from adapterops.quant.ggml_blocks import KINDS, Fields, join
from adapterops.quant.ggml_new import NEW, PLAIN, new


def values(size: float = 1.0) -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    found[3], found[4], found[5, :32] = 0, np.abs(found[4]), 2.0  # nothing; of one sign; all the same
    return found * np.float32(size)


@pytest.mark.parametrize("name", PLAIN)
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
    W = torch.from_numpy(values()[:16])
    total = sum(Ggml(name).encoder(W.shape, f"{seed}").rows(W, 0)[1]() for seed in range(200)) / 200
    step = {
        "Q8_0": 3 / 127,
        "Q5_1": 6 / 31,
        "Q5_0": 3 / 15,
        "Q4_1": 6 / 15,
        "Q4_0": 3 / 7,
        "Q6_K": 3 / 31,
        "Q5_K": 6 / 31,
        "Q4_K": 6 / 15,
        "Q3_K": 1.0,
        "Q2_K": 2.0,
        "IQ4_XS": 3 * 24 / 113,
        "IQ4_NL": 3 * 24 / 113,
    }[name]
    assert float((total - W).abs().max()) < 0.3 * step
    assert abs(float((total - W).mean())) < 0.002 * step


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(IncompatibleError, match="does not fit float16") as raised:
        new("Q8_0", values(1e8).reshape(-1, 1, 32))
    assert "--tensor-type" in str(raised.value.hint)
    with pytest.raises(IncompatibleError, match="does not fit float16"):
        new("Q4_K", values(1e8).reshape(-1, 8, 32))
    with pytest.raises(UnsupportedError, match="IQ3_S is not written with new codes"):
        Ggml("IQ3_S").encoder((2, 256))


IN_GROUPS = [name for name in NEW if name not in PLAIN]
ERRORS = {"Q6_K": 0.020, "Q5_K": 0.040, "Q4_K": 0.080, "Q3_K": 0.155, "Q2_K": 0.31, "IQ4_XS": 0.080, "IQ4_NL": 0.080}
"""Root of the mean square that rounding of normal numbers may cost, of their standard deviation."""


def blocks(name: str, W: np.ndarray, *, reaching: bool = False) -> Fields:
    groups = KINDS[name].groups
    return new(name, W.reshape(-1, groups, SIZES[name].entries // groups), reaching=reaching)


@pytest.mark.parametrize("reaching", [False, True])
@pytest.mark.parametrize("name", IN_GROUPS)
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e4])
def test_every_code_is_the_nearest_on_its_grid(name: str, size: float, reaching: bool) -> None:
    """As the library that owns the format decodes it."""
    W = values(size)
    fields = blocks(name, W, reaching=reaching)
    decoded = gguf.dequantize(join(KINDS[name], fields).reshape(64, -1), Type[name])
    assert np.array_equal(decoded, fields.values().reshape(W.shape))
    step, below = (each.astype(np.float64) for each in fields.steps())
    kind = KINDS[name]
    numbers = np.array(kind.table or range(kind.low, kind.high + 1))
    exact = W.reshape(fields.codes.shape).astype(np.float64)
    every = step[..., None] * numbers - below[..., None]
    least = np.abs(every - exact[..., None]).min(axis=-1).reshape(W.shape)
    assert (np.abs(decoded - W) <= least + 1e-5 * np.abs(W) + 1e-6 * size).all()
    assert np.isfinite(decoded).all()
    if reaching:  # no number is further away than half of the widest gap between two
        gap = np.abs(step) * np.diff(numbers).max() / 2
        assert (np.abs(decoded - W).reshape(exact.shape) <= gap * (1 + 1e-4) + 1e-6 * size).all()


@pytest.mark.parametrize("name", IN_GROUPS)
def test_how_far_normal_numbers_are_off(name: str) -> None:
    W = np.random.default_rng(1).standard_normal((64, 1024)).astype(np.float32)
    near, reaching = (blocks(name, W, reaching=each).values().reshape(W.shape) - W for each in (False, True))
    assert np.sqrt(np.square(near).mean()) < ERRORS[name]
    assert np.square(near).mean() <= np.square(reaching).mean()


GROUPED = {"Q6_K": 0.05, "Q5_K": 0.1, "Q4_K": 0.2, "Q3_K": 0.6, "IQ4_XS": 0.25}


@pytest.mark.parametrize("name", GROUPED)
def test_a_group_next_to_a_hundred_times_larger_ones_is_kept(name: str) -> None:
    """The count of its steps is not rounded to none, which would make zeros or one number of it."""
    W = np.random.default_rng(2).standard_normal((64, 256)).astype(np.float32)
    W[:, :32] *= 100
    off = (blocks(name, W).values().reshape(W.shape) - W)[:, 32:]
    assert np.linalg.norm(off) < GROUPED[name] * np.linalg.norm(W[:, 32:])


@pytest.mark.parametrize("name", IN_GROUPS)
def test_outliers_and_tiny_numbers(name: str) -> None:
    W = values()
    W[6] *= np.float32(1e-8)
    W[7] -= 5
    W[8, 7] = 80
    fields = blocks(name, W, reaching=True)
    step, wide = fields.steps()[0], max(np.diff(KINDS[name].table or (0, 1)))
    away = np.abs(fields.values() - W.reshape(fields.codes.shape))
    assert (away <= np.abs(step) * wide / 2 * (1 + 1e-4) + 1e-6).all()
