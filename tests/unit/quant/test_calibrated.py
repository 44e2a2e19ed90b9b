"""Codes by what is known of the inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from codes import encode, normal, raw, reader
from torch import Tensor

from adapterops.errors import InputError
from adapterops.quant.calibrated import calibrated, hessian
from adapterops.quant.nvfp4 import NVFP4
from adapterops.quant.registry import kept, make
from adapterops.quant.scheme import Kept
from adapterops.quant.transposed import Transposed

SHAPE, RANK = (96, 64), 4


def inputs(seed: int = 5) -> np.ndarray:
    """The Gram matrix of inputs that are not alike in all directions."""
    x = normal(seed, 500, SHAPE[1]) @ (normal(seed + 1, SHAPE[1], SHAPE[1]) * torch.logspace(0, -3, SHAPE[1])[:, None])
    return (x.T @ x / len(x)).numpy()


def stored(scheme: str) -> tuple[Kept, dict[str, Tensor], Tensor]:
    if scheme == "nvfp4":
        made: Kept = NVFP4("weight_scale_2")
        parts = {
            "weight": torch.randint(
                0, 256, (SHAPE[0], SHAPE[1] // 2), generator=torch.Generator().manual_seed(1)
            ).byte(),
            "weight_scale": torch.full((SHAPE[0], SHAPE[1] // 16), 2.0).to(torch.float8_e4m3fn),
            "weight_scale_2": torch.tensor(0.003),
        }
    else:
        new = made = make(scheme)
        parts = encode(new.encoder(SHAPE), 0.02 * normal(1, *SHAPE))
    return made, parts, made.decode(SHAPE, reader(parts), 0, SHAPE[0]).float().clone()


def update(size: float = 0.03) -> Tensor:
    delta = normal(2, SHAPE[0], RANK) @ normal(3, RANK, SHAPE[1])
    return delta * size * 0.02 * math.sqrt(SHAPE[0] * SHAPE[1]) / delta.norm()


def numbers(scheme: Kept, parts: dict[str, Tensor]) -> Tensor:
    return scheme.decode(SHAPE, reader(parts), 0, SHAPE[0]).float().clone()


def far(found: Tensor, wanted: Tensor, gram: Tensor) -> float:
    error = (found - wanted).double()
    return float(((error @ gram) * error).sum())


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8", "nvfp4"])
def test_codes_are_nearer_for_the_inputs_than_by_chance_or_by_themselves(scheme: str) -> None:
    made, parts, W = stored(scheme)
    gram, target = inputs(), W + update()
    G = torch.from_numpy(gram).double()
    read = reader(parts)
    chosen = encode(calibrated(kept(made), SHAPE, read, lambda: gram), target)
    random = encode(kept(made).on_grid(SHAPE, read, "key"), target)
    found, chance = (numbers(made, {**parts, **each}) for each in (chosen, random))
    assert far(found, target, G) < 0.3 * far(chance, target, G)
    assert far(found, target, hessian(G, update())) < 0.5 * far(W, target, hessian(G, update()))


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8", "nvfp4"])
def test_what_is_not_changed_keeps_its_codes(scheme: str) -> None:
    made, parts, W = stored(scheme)
    same = encode(calibrated(kept(made), SHAPE, reader(parts), inputs), W)
    assert torch.equal(raw(same["weight"]), raw(parts["weight"]))
    delta = update()
    delta[10:20] = 0
    chosen = encode(calibrated(kept(made), SHAPE, reader(parts), inputs), W + delta)
    found = numbers(made, {**parts, **chosen})
    assert torch.equal(found[10:20], W[10:20])
    assert not torch.equal(found[20:], W[20:])


def test_a_weight_that_is_stored_transposed() -> None:
    made, parts, W = stored("nf4")
    delta = update()
    turned = encode(calibrated(Transposed(kept(made)), SHAPE[::-1], reader(parts), inputs), (W + delta).T)
    plain = encode(calibrated(kept(made), SHAPE, reader(parts), inputs), W + delta)
    assert torch.equal(turned["weight"], plain["weight"])


def test_inputs_that_are_all_zero_leave_the_update() -> None:
    made, parts, W = stored("int8")
    nothing = np.zeros((SHAPE[1], SHAPE[1]), np.float32)
    chosen = encode(calibrated(kept(made), SHAPE, reader(parts), lambda: nothing), W + update())
    H = hessian(torch.zeros(SHAPE[1], SHAPE[1], dtype=torch.float64), update())
    assert far(numbers(made, {**parts, **chosen}), W + update(), H) < 0.1 * far(W, W + update(), H)


def test_numbers_that_are_none_are_refused() -> None:
    made, parts, W = stored("nf4")
    W[3, 3] = float("nan")
    with pytest.raises(InputError):
        calibrated(kept(made), SHAPE, reader(parts), inputs).rows(W, 0)


def test_products_of_no_inputs_are_refused() -> None:
    """Where every pair of inputs may have these products, and all of them together cannot."""
    scheme, parts, _ = stored("nf4")
    gram = np.full((SHAPE[1], SHAPE[1]), -0.5) + 1.5 * np.eye(SHAPE[1])
    with pytest.raises(InputError, match="Gram matrix"):
        calibrated(scheme, SHAPE, reader(parts), lambda: gram).rows(numbers(scheme, parts) + update(), 0)
