"""The difference of two models as an adapter, and what is not in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError
from adapterops.operations.extraction import difference, extract


@pytest.fixture
def models(tmp_path: Path) -> tuple[Checkpoint, Checkpoint]:
    base = ao.open_checkpoint(write_base(tmp_path / "base"))
    fused = ao.fuse(base, ao.open_adapter(write_tuned(tmp_path / "a")), dtype="F32")
    ao.save_checkpoint(fused, tmp_path / "tuned")
    return ao.open_checkpoint(tmp_path / "tuned"), base


def test_the_adapter_is_found_again(models: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    found, adapter = extract(*models, rank=2), ao.open_adapter(tmp_path / "a")
    assert found.layout.keys() == adapter.layout.keys()
    for module, update in found.updates.items():
        np.testing.assert_allclose(update.dense(), adapter.updates[module].dense(), atol=1e-4)


def test_a_plan_knows_every_module_that_may_differ(models: tuple[Checkpoint, Checkpoint]) -> None:
    assert difference(*models, planning=True).layout.keys() >= difference(*models).layout.keys()


def test_a_changed_norm_is_refused_dropped_or_kept(models: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    file = tmp_path / "tuned/model-00001-of-00004.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.norm.weight"] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    tuned = ao.open_checkpoint(tmp_path / "tuned")
    with pytest.raises(IncompatibleError, match="1 tensor changed outside of Linear layers") as caught:
        extract(tuned, models[1], rank=2, rest="refuse")
    assert caught.value.code == "E-REST"
    with pytest.warns(AdapterWarning, match="changed and dropped"):
        assert not extract(tuned, models[1], rank=2, rest="drop").full
    assert list(extract(tuned, models[1], rank=2).full) == ["model.layers.0.norm.weight"]
