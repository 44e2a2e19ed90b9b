"""A checkpoint is opened by its headers, and what is no model is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import write_adapter
from tiny_models import write_base

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import AdapterOpsError, InputError, NotFoundError


def test_tensors_are_known_and_none_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_base(tmp_path / "base")
    monkeypatch.setattr(
        "adapterops.storage.safetensors.SafetensorsFile._fill", lambda *given: pytest.fail("a tensor was read")
    )
    found = open_checkpoint(folder)
    assert len(found.layout) == 12
    assert list(found.shards) == sorted(path.name for path in folder.glob("*.safetensors"))
    assert (found.config or {})["model_type"] == "tiny"
    assert not found.changed
    assert not found.schemes


def test_one_file_is_a_checkpoint_and_one_of_several_is_not(tmp_path: Path) -> None:
    part = write_base(tmp_path / "base") / "model-00001-of-00004.safetensors"
    with pytest.raises(InputError, match="is one of the files of a checkpoint"):
        open_checkpoint(part)
    found = open_checkpoint(part.rename(tmp_path / "model.safetensors"))
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in found.layout} == {"q_proj", "v_proj", "norm"}


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_checkpoint(tmp_path / "none")
    with pytest.raises(AdapterOpsError, match="adapter"):
        open_checkpoint(write_adapter(tmp_path / "a"))
