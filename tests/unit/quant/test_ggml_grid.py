"""Updates on the grids of blocks: what is left of them, and what stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf_models import coded

from adapterops.quant.ggml_blocks import KINDS, Fields, join, split
from adapterops.quant.ggml_grid import reached, stochastic

ROWS = 512


def fields(name: str, rows: int = ROWS) -> Fields:
    """Normal numbers in blocks."""
    W = np.random.default_rng(0).standard_normal((rows, 1024)).astype(np.float32)
    return split(KINDS[name], coded(0.02 * W, Type[name]))


def update(of: Fields, relative: float, seed: int = 1) -> np.ndarray:
    W = of.values()
    return (relative * W.std() * np.random.default_rng(seed).standard_normal(W.shape)).astype(np.float32)


def chance(of: Fields, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random(of.codes.shape, dtype=np.float32)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("relative", [0.01, 0.3, 3.0])
def test_on_average_all_of_an_update_is_left(name: str, relative: float) -> None:
    before = fields(name)
    delta = update(before, relative)
    found = stochastic(KINDS[name], before, before.values() + delta, chance(before), ROWS).values() - before.values()
    size = float((delta * delta).sum())
    spread = float(np.square((found - delta) * delta).sum() ** 0.5) / size
    assert float((found * delta).sum()) / size == pytest.approx(1, abs=0.015 + 3 * spread)


@pytest.mark.parametrize("name", KINDS)
def test_numbers_on_the_grid_stay_bit_for_bit(name: str) -> None:
    before = fields(name, 16)
    after = stochastic(KINDS[name], before, before.values(), chance(before), 16)
    np.testing.assert_array_equal(join(KINDS[name], after), join(KINDS[name], before))


@pytest.mark.parametrize("name", KINDS)
def test_a_block_without_a_change_stays_next_to_one_with_one(name: str) -> None:
    before = fields(name, 16)
    delta = update(before, 0.1)
    delta[1::2] = 0
    after = stochastic(KINDS[name], before, before.values() + delta, chance(before), 16)
    np.testing.assert_array_equal(join(KINDS[name], after)[1::2], join(KINDS[name], before)[1::2])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("relative", [0.01, 1.0])
def test_a_grid_is_widened_to_reach_every_number(name: str, relative: float) -> None:
    before = fields(name, 16)
    values = before.values() + update(before, relative)
    step, below = reached(KINDS[name], before, values).steps()
    ends = KINDS[name].low * step - below, KINDS[name].high * step - below
    room = 1e-4 * np.abs(values).max()
    assert (values >= np.minimum(*ends) - room).all()
    assert (values <= np.maximum(*ends) + room).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_small_update_changes_no_scale_and_its_row_holds_it(name: str) -> None:
    """Also of entries on the last code, half of which are to go further; other scales would make more noise than that."""
    before = fields(name, 64)
    delta = update(before, 0.001)
    found = stochastic(KINDS[name], before, before.values() + delta, chance(before), 64)
    for one, other in zip(found[:4], before[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    ends = np.isin(before.codes, [KINDS[name].low, KINDS[name].high])
    assert (found.codes[ends] != before.codes[ends]).any()
    power = np.square(delta, dtype=np.float64).sum()
    chances = [chance(before, seed) for seed in range(20)]
    moved = [stochastic(KINDS[name], before, before.values() + delta, each, 64).values() for each in chances]
    gains = [float(((each - before.values()) * delta).sum()) / power for each in moved]
    assert np.mean(gains) == pytest.approx(1, abs=4 * np.std(gains) / 20**0.5)


@pytest.mark.parametrize("name", KINDS)
def test_a_grid_that_reaches_is_not_touched(name: str) -> None:
    before = fields(name, 16)
    after = reached(KINDS[name], before, 0.5 * before.values())
    np.testing.assert_array_equal(join(KINDS[name], after), join(KINDS[name], before))


@pytest.mark.parametrize("name", KINDS)
def test_blocks_of_zeros_take_an_update(name: str) -> None:
    zeros = np.zeros_like(join(KINDS[name], fields(name, 16)))
    before = split(KINDS[name], zeros)
    delta = (0.01 * np.random.default_rng(3).standard_normal(before.codes.shape)).astype(np.float32)
    values = before.values()
    after = stochastic(KINDS[name], before, values + delta, chance(before), 16).values()
    if KINDS[name].low < 0 or KINDS[name].minimum:
        assert float(((after - values) * delta).sum() / (delta * delta).sum()) == pytest.approx(1, abs=0.1)
    assert np.isfinite(after).all()
