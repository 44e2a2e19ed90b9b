"""Weights that went through codes after the sum, or that stand in another's place; see tests/fault/test_diagnosis.py for verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from merged_models import GATE, MODULES, UP, Merge, base, lora, once, write
from torch import Tensor

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis.afterwards import codes_of_sum, moved
from adapterops.verification.diagnosis.grounds import fp8, int8, nf4
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.witness import witness

BEFORE, ADAPTER = base(1, torch.bfloat16), lora(1, 8, 4.0, 0.05)
SUM = Merge(BEFORE, [ADAPTER], once).made()


def subject(folder: Path, change: Callable[[Tensor], Tensor], most: int | None = None) -> Subject:
    """The merge with all adapted weights changed."""
    found = {name: change(each) if name.removesuffix(".weight") in MODULES else each for name, each in SUM.items()}
    model, before = (open_checkpoint(write(folder / name, each)) for name, each in (("m", found), ("b", BEFORE)))
    return Subject(model, [witness(model, before, open_adapter(ADAPTER.save(folder / "a")))[0]], most)


@pytest.mark.parametrize(("back", "says"), [(nf4, "NF4"), (fp8, "FP8 in blocks of 128"), (int8, "int8")])
@pytest.mark.parametrize("most", [None, 640])
def test_codes_of_the_sum_are_found_in_whole_groups(
    tmp_path: Path, back: Callable, says: str, most: int | None
) -> None:
    def through(W: Tensor) -> Tensor:
        return torch.from_numpy(back(W.double().numpy())).bfloat16()

    found = subject(tmp_path, through, most)
    for unit in found.units:
        sample = found.sample(unit)
        assert sample
        grouped = most and (
            back is fp8 or (back is nf4 and unit.columns.stop % 64)
        )  # of which no whole group is looked at
        assert codes_of_sum(found, unit, sample, np.ones(1)) == (None if grouped else says), unit
        assert codes_of_sum(found, unit, sample, np.zeros(1)) is None  # it is not the base that went through them


def test_what_went_through_no_codes_is_not_said_to(tmp_path: Path) -> None:
    found = subject(tmp_path, lambda W: W)
    for unit in found.units:
        sample = found.sample(unit)
        assert sample
        assert codes_of_sum(found, unit, sample, np.ones(1)) is moved(found, unit, sample) is None


def test_rows_and_weights_in_other_places(tmp_path: Path) -> None:
    found = subject(tmp_path, lambda W: W.flip(0))
    for unit in found.units[:3]:
        sample = found.sample(unit)
        assert sample
        last = len(unit.rows) - 1
        order = (True, f"has its rows in another order: its row 0 is near the base's row {last}")
        assert moved(found, unit, sample) == order
    other = subject(tmp_path / "other", lambda W: SUM[f"{UP}.weight"].clone() if len(W) == 96 else W)
    (gate,) = [each for each in other.units if each.module == GATE]
    sample = other.sample(gate)
    assert sample
    assert moved(other, gate, sample) == (False, f"is near the base's {UP}, and not to what it was")
