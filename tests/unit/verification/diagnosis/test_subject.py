"""What a model may be made of: every place once, and samples of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from merged_models import CONVENTIONS, MODULES, Merge, base, lora, write

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.witness import witness


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    before, adapter = base(1, torch.bfloat16), lora(1)
    model = open_checkpoint(write(tmp_path / "m", Merge(before, [adapter], CONVENTIONS["once"]).made()))
    opened = open_checkpoint(write(tmp_path / "b", before))
    return Subject(model, [witness(model, opened, open_adapter(adapter.save(tmp_path / "a")))[0]])


def test_every_module_is_a_unit(subject: Subject) -> None:
    assert {unit.module for unit in subject.units} == set(MODULES)


def test_a_sample_is_base_and_model_and_update(subject: Subject) -> None:
    sample = subject.sample(subject.units[0])
    assert sample is not None
    assert np.abs(sample.M - sample.sum(np.ones(1))).max() < np.abs(sample.W).max() * 2**-8
    assert not sample.unchanged
    assert sample.scaled[0] is not None
    assert (sample.scaled[0].rank, sample.scaled[0].scale) == (4, 1.5)


def test_factors_in_another_dtype(subject: Subject) -> None:
    unit = subject.units[0]
    exact, rounded = subject.sample(unit), subject.with_factors_in("BF16").sample(unit)
    assert exact is not None
    assert rounded is not None
    difference = np.abs(exact.deltas[0].values - rounded.deltas[0].values).max()
    assert 0 < difference < 2**-5 * np.abs(exact.deltas[0].values).max()
