"""Weights next to a model that its index does not name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao
from adapterops.formats.models.left_behind import left_behind
from adapterops.storage.place import Place


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("speech_tokenizer/model.safetensors", True),
        ("mm_projector.bin", True),
        ("mtp.safetensors", True),
        ("original/consolidated.00.pth", False),
        ("metal/model.bin", False),
        ("consolidated.safetensors", False),
        ("pytorch_model.bin", False),
        ("model-00001-of-00002.safetensors", False),
        ("optimizer.pt", False),
        ("checkpoint-10/model.safetensors", False),
    ],
)
def test_other_forms_of_the_model_are_none_of_them(tmp_path: Path, name: str, told: bool) -> None:
    model = tmp_path / "model.safetensors"
    model.touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert left_behind(Place(tmp_path), [model]) == ((name,) if told else ())


def test_they_are_told_when_the_model_is_written(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "vision").mkdir(parents=True)
    for path in (base / "model.safetensors", base / "vision" / "model.safetensors"):
        save_file({"x.weight": torch.ones(2, 2)}, path)
    checkpoint = ao.open_checkpoint(base)
    with pytest.warns(ao.AdapterWarning, match=r"not taken along: vision/model\.safetensors"):
        ao.save_checkpoint(checkpoint, tmp_path / "out")
