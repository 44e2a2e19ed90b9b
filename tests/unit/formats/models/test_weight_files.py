from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.errors import AdapterWarning, InputError
from adapterops.formats.models.weight_files import index_name, is_part, weight_files
from adapterops.storage.place import Place

SHARDS = ("{}-00001-of-00002.safetensors", "{}-00002-of-00002.safetensors")


def write(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        save_file({f"w{number}": torch.ones(2)}, folder / name)
    return folder


def sharded(folder: Path, stem: str) -> str:
    """Two shards and their index, whose name is returned."""
    names = [shard.format(stem) for shard in SHARDS]
    write(folder, *names)
    (folder / index_name(names)).write_text(json.dumps({"weight_map": {"w0": names[0], "w1": names[1]}}))
    return index_name(names)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["model.safetensors", "model.fp16.safetensors"], "model.safetensors"),
        (["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"], "diffusion_pytorch_model.safetensors"),
        (["model.fp16.safetensors"], "model.fp16.safetensors"),
        (["model.fp16.safetensors", "model.non_ema.safetensors"], None),
        ([], None),
    ],
)  # fmt: skip
def test_which_file_is_the_model(tmp_path: Path, names: list[str], taken: str | None) -> None:
    assert list(weight_files(Place(write(tmp_path, *names)))) == ([taken] if taken else [])


@pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model", "diffusion_pytorch_model.fp16", "model.bf16"])
def test_an_index_is_found_by_the_name_that_it_is_written_under(tmp_path: Path, stem: str) -> None:
    name = sharded(tmp_path, stem)
    assert list(weight_files(Place(tmp_path))) == [shard.format(stem) for shard in SHARDS]
    (tmp_path / SHARDS[1].format(stem)).unlink()
    with pytest.raises(InputError, match="missing"):
        weight_files(Place(tmp_path))
    (tmp_path / name).unlink()
    assert weight_files(Place(tmp_path)) == {}, "one of several files is no model"


def test_a_single_file_comes_before_an_index(tmp_path: Path) -> None:
    sharded(tmp_path, "model")
    with pytest.warns(AdapterWarning, match="model.safetensors is read, .* and the files of the index are not"):
        assert list(weight_files(Place(write(tmp_path, "model.safetensors")))) == ["model.safetensors"]


def test_other_shards_have_the_index_of_transformers() -> None:
    assert index_name(["weights-00001-of-00002.safetensors"]) == "model.safetensors.index.json"


def test_a_part_of_several_is_known_by_its_name() -> None:
    assert is_part("model-00001-of-00002.safetensors")
    assert is_part("diffusion_pytorch_model.fp16-00001-of-00002.safetensors")
    assert not is_part("model.safetensors")
