"""Every rounding, against the same arithmetic in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from merged_models import CONVENTIONS as ARITHMETIC
from torch import Tensor

from adapterops.verification.deltas import UNIT, Delta
from adapterops.verification.diagnosis.causes import Scaled
from adapterops.verification.diagnosis.conventions import CONVENTIONS, Dtypes, distinct, loosely, off
from adapterops.verification.diagnosis.samples import Sample

NAMES = {
    "once": "once",
    "peft": "update-in-adapter-dtype",
    "peft-safe": "update-in-both-dtypes",
    "cast": "all-in-base-dtype",
    "scaled-after": "products-in-base-dtype",
    "through-float16": "through-float16",
}


def made(arithmetic: str, several: bool) -> tuple[Sample, Dtypes]:
    stochastic = torch.Generator().manual_seed(3)
    W = torch.randn(64, 96, generator=stochastic).bfloat16()
    pairs = [
        ((0.01 * torch.randn(64, 8, generator=stochastic)).half(), torch.randn(8, 96, generator=stochastic).half(), 0.7)
        for _ in range(1 + several)
    ]
    M = ARITHMETIC[arithmetic](W, pairs)
    factors = [(B.bfloat16(), A.bfloat16()) if arithmetic in ("cast", "scaled-after") else (B, A) for B, A, _ in pairs]

    def wide(tensor: Tensor) -> np.ndarray:
        found: np.ndarray = tensor.double().numpy()
        return found

    deltas = [Delta(0.7 * wide(B) @ wide(A), 0.7 * UNIT * 10 * (np.abs(wide(B)) @ np.abs(wide(A)))) for B, A in factors]
    sample = Sample(wide(W), wide(M), deltas, "BF16", [Scaled(0.7, 8)] * len(pairs))
    return sample, Dtypes("BF16", ["F16"] * len(pairs))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("arithmetic", NAMES)
def test_what_a_program_makes_is_what_its_convention_says(arithmetic: str, several: bool) -> None:
    sample, dtypes = made(arithmetic, several)
    in_steps = several and arithmetic not in ("once", "through-float16")
    name = NAMES[arithmetic] + ("-in-steps" if in_steps else "")
    convention = next(each for each in CONVENTIONS if each.name == name)
    weights = np.ones(len(sample.deltas))
    assert not off(sample, weights, convention, dtypes).any()
    assert off(sample, 1.01 * weights, convention, dtypes).any()
    assert not loosely(sample, weights).any()
    alike = {each.name for each in CONVENTIONS if not off(sample, weights, each, dtypes).any()}
    assert len({each.removesuffix("-in-steps") for each in alike}) <= 4  # the rest do something else


def test_those_that_make_no_difference_are_left_out() -> None:
    names = [each.name for each in distinct(False, Dtypes("F32", ["F32"]), "F32")]
    assert names == ["once", "through-float16", "through-bfloat16"]
    assert len(distinct(True, Dtypes("BF16", ["F16"]), "BF16")) > len(distinct(False, Dtypes("BF16", ["F16"]), "BF16"))
