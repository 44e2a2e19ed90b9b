"""Names and tensors that no update is for."""

from __future__ import annotations

from pathlib import Path

import torch
from merged_models import base, write

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis.others import renamed


def test_other_wrappers(tmp_path: Path) -> None:
    tensors = base(1, torch.float16)
    before = open_checkpoint(write(tmp_path / "base", tensors))
    wrapped = {name.replace("model.", "model.language_model.", 1): each for name, each in tensors.items()}
    model = renamed(open_checkpoint(write(tmp_path / "model", wrapped)), before)
    assert model.layout.keys() == before.layout.keys() == model.stored.keys()
    assert all(model.stored[name].same_bytes(before.stored[name]) for name in before.layout)


def test_the_same_names_stay(tmp_path: Path) -> None:
    before = open_checkpoint(write(tmp_path / "base", base(1, torch.float16)))
    assert renamed(before, before) is before
