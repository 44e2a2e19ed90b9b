"""Where the files of an adapter are looked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from peft_folders import adapter

from adapterops.errors import InputError, NotFoundError
from adapterops.formats.models.model_files import read_model
from adapterops.formats.peft.files import has_config, read_files
from adapterops.storage.place import Place


def test_a_folder_in_it_and_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    weights = adapter(tmp_path / "inner", {}) / "adapter_model.safetensors"
    for place in (tmp_path, tmp_path / "inner", weights):
        assert read_files(place).paths[0] == weights
    assert has_config(Place(weights), weights)


def test_several_in_one_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        adapter(tmp_path / name, {})
    with pytest.raises(InputError, match="holds several adapters: a, b"):
        read_files(tmp_path)


def test_a_model_is_named_as_one(tmp_path: Path) -> None:
    weights = adapter(tmp_path, {}) / "adapter_model.safetensors"
    shutil.move(weights, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="has no adapter_model") as caught:  # there is a config of PEFT
        read_files(tmp_path)
    assert caught.value.hint == f"name the file itself, such as {tmp_path / 'model.safetensors'}"
    assert read_files(tmp_path / "model.safetensors").paths[0] == tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="call it adapter_model"):
        read_model(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(InputError, match="is a model, where an adapter is expected"):
        read_files(tmp_path)


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_files(tmp_path / "missing.safetensors")
