"""A word in the name of a trained copy is that of an adapter or of a layer, as the base shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peft_folders import adapter
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.errors import IncompatibleError
from adapterops.operations.targets.copies import with_copies_named


def base(folder: Path, *names: str) -> ao.Checkpoint:
    save_file({name: np.zeros((6, 4), np.float32) for name in ("q.weight", *names)}, folder / "model.safetensors")
    return ao.open_checkpoint(folder / "model.safetensors")


@pytest.fixture
def doubtful(tmp_path: Path) -> ao.Adapter:
    copy = {"gate.modules_to_save.mine.weight": np.ones((6, 4), np.float32)}
    return ao.open_adapter(adapter(tmp_path, {"modules_to_save": ["gate"]}, **copy))


@pytest.mark.parametrize("name", ["gate.weight", "gate.mine.weight"])
def test_it_has_the_name_of_the_base(name: str, doubtful: ao.Adapter, tmp_path: Path) -> None:
    found = with_copies_named(doubtful, base(tmp_path, name))
    assert list(found.full) == [name]
    assert not found.config.doubtful


@pytest.mark.parametrize(("names", "said"), [((), "neither"), (("gate.weight", "gate.mine.weight"), "both")])
def test_neither_or_both_are_refused(names: tuple[str, ...], said: str, doubtful: ao.Adapter, tmp_path: Path) -> None:
    with pytest.raises(
        IncompatibleError, match=f"may be gate.weight or gate.mine.weight of the model, and the base has {said}"
    ):
        with_copies_named(doubtful, base(tmp_path, *names))
