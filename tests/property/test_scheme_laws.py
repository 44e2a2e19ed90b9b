"""What holds of every scheme that an adapter can be fused into: of normal weights, as models have them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from codes import encode, normal, raw, reader
from gguf import GGMLQuantizationType as Type
from gguf_models import CODED, coded
from kept_grids import KINDS, stored
from torch import Tensor

from adapterops.quant.ggml import Ggml
from adapterops.quant.registry import own, written

SHAPE = (64, 512)
DRAWS = 200


def of_grid(kind: str) -> tuple[Any, tuple[int, ...], dict[str, Tensor]]:
    """Normal numbers whose 3.5 standard deviations are the end of the grid, onto it."""
    scheme, shape = KINDS[kind]
    parts, height = stored(scheme, shape), math.prod(shape[:-1])
    numbers = scheme.numbers()
    finite = numbers[torch.isfinite(numbers)]
    scale, zero = scheme.scales(shape, reader(parts), 0, height)
    wide = torch.broadcast_to(scale * (finite.max() - torch.as_tensor(zero)).abs().clamp(max=256), (height, shape[-1]))
    W = normal(5, height, shape[-1]) * wide.float() / 3.5
    return scheme, shape, {**parts, **encode(scheme.on_grid(shape, reader(parts), "made"), W)}


def of_ggml(name: str) -> tuple[Any, tuple[int, ...], dict[str, Tensor]]:
    data = coded(normal(5, *SHAPE).numpy(), Type[name])
    return Ggml(name), SHAPE, {"": torch.from_numpy(data)}


def of_written(name: str) -> tuple[Any, tuple[int, ...], dict[str, Tensor]]:
    scheme = written()[name](name, "F32")
    return scheme, SHAPE, encode(scheme.encoder(SHAPE), normal(5, *SHAPE))


CASES = {
    **{kind: (of_grid, kind) for kind in KINDS},
    **{each.name: (of_ggml, each.name) for each in CODED},
    **{name: (of_written, name) for name in written()},
}


def test_every_scheme_is_here() -> None:
    """But for types of ggml that no formula is known of."""
    kept = {name for each in own() if each.keeps for name in each.names}
    covered = {make(name)[0].name for make, name in CASES.values()}
    without = {each.name for each in Type if each.name.startswith(("IQ1", "IQ2", "IQ3", "TQ"))} | {"MXFP4"}
    assert kept - covered == without & kept


@pytest.mark.parametrize("case", CASES)
def test_nothing_added_changes_no_byte(case: str) -> None:
    make, name = CASES[case]
    scheme, shape, parts = make(name)
    W = scheme.decode(shape, reader(parts), 0, math.prod(shape[:-1])).float().clone()
    for role, part in encode(scheme.on_grid(shape, reader(parts), "key"), W).items():
        assert torch.equal(raw(part.contiguous()), raw(parts[role].contiguous()))


@pytest.mark.parametrize("case", CASES)
def test_an_update_of_one_percent_is_held(case: str) -> None:
    """gain = ⟨W' - W, ΔW⟩ / ‖ΔW‖² is 0.98 to 1.02, in the mean of many draws."""
    make, name = CASES[case]
    scheme, shape, parts = make(name)
    read, height = reader(parts), math.prod(shape[:-1])
    W = scheme.decode(shape, read, 0, height).float().clone()
    update = normal(2, height, 8) @ normal(3, 8, shape[-1])
    update *= 0.01 * W.norm() / update.norm()
    gains: list[float] = []
    error = math.inf
    while len(gains) < 20 or error > 0.015:
        assert len(gains) < DRAWS
        moved = scheme.on_grid(shape, read, str(len(gains))).rows(W + update, 0)[1]() - W
        gains.append(float((moved * update).sum() / update.square().sum()))
        error = float(np.std(gains)) / len(gains) ** 0.5
    assert 0.98 - 2 * error < np.mean(gains) < 1.02 + 2 * error, np.mean(gains)
