"""Ranks of differences that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from merged_models import CONVENTIONS, MODULES, Merge, base, lora, write

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis.spectrum import spectrum

NAME = f"{next(iter(MODULES))}.weight"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("rank", [1, 5, 16])
def test_the_rank_of_an_update(rank: int, dtype: torch.dtype, tmp_path: Path) -> None:
    before = base(1, dtype)
    made = Merge(before, [lora(1, rank=rank, size=0.1)], CONVENTIONS["once"]).made()
    pair = [open_checkpoint(write(tmp_path / name, tensors)) for name, tensors in (("m", made), ("b", before))]
    found = spectrum(pair[0], pair[1], NAME)
    assert found is not None
    assert found.rank(0.9999) == rank if dtype == torch.float32 else (found.rank(0.999) or 0) >= rank
    difference = made[NAME].double() - before[NAME].double()
    assert found.relative == pytest.approx(float(difference.norm() / before[NAME].double().norm()), rel=1e-5)
    exact = torch.linalg.svdvals(difference).square() / difference.square().sum()
    assert found.energies[:rank] == pytest.approx(exact[:rank].numpy(), rel=0.01)


def test_no_difference(tmp_path: Path) -> None:
    opened = open_checkpoint(write(tmp_path / "b", base(1, torch.bfloat16)))
    found = spectrum(opened, opened, NAME)
    assert found is not None
    assert found.square == 0
