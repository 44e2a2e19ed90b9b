"""Schemes whose grid is kept: no-op, neighbours and mean, for codes that an independent formula decodes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from codes import raw, reader
from kept_grids import KINDS, stored

from adapterops.arrays import columns
from adapterops.quant.grid import share
from adapterops.quant.registry import is_kept, kept, writable
from adapterops.testing import check_grid


@pytest.mark.parametrize("kind", KINDS)
def test_the_laws_of_a_grid_that_is_kept(kind: str) -> None:
    scheme, shape = KINDS[kind]
    check_grid(scheme, shape, reader(stored(scheme, shape)))


@pytest.mark.parametrize("kind", KINDS)
def test_each_number_goes_to_one_of_its_two_neighbours(kind: str) -> None:
    """By what all codes stand for with the scale of the entry: nothing is between the number and the code's."""
    scheme, shape = KINDS[kind]
    parts = stored(scheme, shape)
    read, height = reader(parts), math.prod(shape[:-1])
    before = scheme.decode(shape, read, 0, height).clone()
    scale, zero = scheme.scales(shape, read, 0, height)
    W = before + 0.3 * scale * torch.randn(before.shape, generator=torch.Generator().manual_seed(1))
    encoder = scheme.on_grid(shape, read, "key")
    made, decoded = encoder.rows(W, 0)
    found = scheme.decode(shape, reader({**parts, **encoder.written(made)}), 0, height)
    assert torch.equal(found, decoded())
    numbers = scheme.numbers()
    grid = torch.unique(numbers[torch.isfinite(numbers)])
    wide, shift = torch.broadcast_tensors(scale, torch.as_tensor(zero).float(), before)[:2]
    for row in range(0, height, 7):
        own = (grid[None, :] - shift[row, :, None]) * wide[row, :, None]
        low, high = torch.minimum(W[row], found[row]), torch.maximum(W[row], found[row])
        slack = 1e-5 * own.abs().amax(dim=1)
        between = (own > (low + slack)[:, None]) & (own < (high - slack)[:, None])
        assert not bool(between.any())
    assert bool(scheme.changed(shape, read, 0, made).any())
    assert float((scheme.changed(shape, read, 0, made) == (found != before)).float().mean()) == 1


def test_what_is_kept_is_not_made_anew() -> None:
    for kind, (scheme, _) in KINDS.items():
        assert is_kept(scheme), kind
        assert kept(scheme) is scheme
        with pytest.raises(Exception, match="is not written with new codes"):
            writable(scheme)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_of_one_percent_is_held_on_average(kind: str) -> None:
    """⟨W' - W, ΔW⟩ / ‖ΔW‖², though codes at the ends of the grid cannot follow: of 16 equally frequent ones, two."""
    scheme, shape = KINDS[kind]
    read, height = reader(stored(scheme, shape)), math.prod(shape[:-1])
    before = scheme.decode(shape, read, 0, height).clone()
    random = torch.Generator().manual_seed(2)
    update = torch.randn(height, 4, generator=random) @ torch.randn(4, shape[-1], generator=random)
    update *= 0.01 * before.norm() / update.norm()
    gains = []
    for draw in range(60):
        moved = scheme.on_grid(shape, read, str(draw)).rows(before + update, 0)[1]() - before
        gains.append(float((moved * update).sum() / update.square().sum()))
    error = float(np.std(gains)) / len(gains) ** 0.5
    assert abs(np.mean(gains) - 1) < max(0.02, 4 * error)
    assert error < 0.015


def test_what_the_ends_do_not_hold_the_rest_of_the_row_does() -> None:
    """On the grid 0, 1, 2, 3: by the formula, in a row of which an end takes nothing, and one that is held."""
    start = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 3.0, 0.0]])
    update = torch.tensor([[0.2, 0.1, -0.3], [-0.2, 0.1, -0.3], [0.2, 0.1, -0.3]])
    scale = torch.tensor([[2.0, 1.0, 1.0]] * 3)
    s = start + update
    low = s.floor().clamp(0, 2)
    found = s.clone()
    share(found, start, low, low + 1, scale)
    held = s.clamp(0, 3) - start
    power, rest = ((update * scale) ** 2).sum(dim=1), (update * held * scale**2).sum(dim=1)
    expected = start[0] + held[0] * min(2, float(power[0] / rest[0]))
    assert torch.allclose(found[0], expected)
    assert torch.equal(found[1], s[1])
    assert torch.equal(found[2], s[2].clamp(0, 3))  # nothing is held, so that nothing can make up for it
    assert bool(((found >= low) & (found <= low + 1)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_rows_at_a_time_are_what_is_stored(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what is stored by columns, which is written when all rows are there, and read in narrow bands."""
    monkeypatch.setattr(columns, "BAND", 300)
    scheme, shape = KINDS[kind]
    parts = stored(scheme, shape)
    read, height, step = reader(parts), math.prod(shape[:-1]), 3 * scheme.granularity(shape)
    encoder, made = scheme.on_grid(shape, read, "key"), dict[str, list[torch.Tensor]]()
    for begin in range(0, height, step):
        values = scheme.decode(shape, read, begin, min(begin + step, height)).clone()
        pieces, _ = encoder.rows(values, begin)
        assert not bool(scheme.changed(shape, read, begin, pieces).any())
        for role, piece in encoder.written(pieces).items():
            made.setdefault(role, []).append(raw(piece.contiguous()).clone())
    assert made
    for role, found in made.items():
        assert torch.equal(torch.cat([each.view(-1) for each in found]), raw(parts[role].contiguous()).view(-1)), role
