"""A number is judged by half a step of its dtype, and one that was rounded at random by a whole one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.verification.judges import judge_of, judged_rows


def stored(path: Path, value: torch.Tensor) -> StoredTensor:
    save_file({"a.weight": value}, path / "model.safetensors")
    return open_checkpoint(path).stored["a.weight"]


@pytest.mark.parametrize(
    ("steps", "near", "by_chance"), [(0.0, True, True), (0.5, True, True), (0.9, False, True), (1.1, False, False)]
)
def test_what_a_number_may_be_rounded_from(tmp_path: Path, steps: float, near: bool, by_chance: bool) -> None:
    value = 1 + torch.arange(32).reshape(4, 8) / 128
    found = stored(tmp_path, value.bfloat16())
    S = value.double().numpy() + steps * 2.0**-7
    for stochastic, right in ((False, near), (True, by_chance)):
        judge = judge_of(found, stochastic)
        assert judge is not None
        off, numbers = judge(S[1:3], np.zeros((2, 8)), 1, 3)
        assert off.any() != right
        assert np.array_equal(numbers, value.double().numpy()[1:3])


def test_a_row_is_judged_by_itself(tmp_path: Path) -> None:
    assert judged_rows(stored(tmp_path, torch.ones(4, 8))) == 1
