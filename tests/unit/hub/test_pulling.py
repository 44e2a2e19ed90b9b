"""What `pull` writes: the files of one commit, complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import tree, write_adapter
from hub_server import Hub

from adapterops.errors import InputError, OutputExistsError
from adapterops.hub.pulling import pull

EXTRA = {"notes.onnx": b"x", "pytorch_model.bin": b"pickle"}


@pytest.fixture
def source(hub: Hub, tmp_path: Path) -> Path:
    folder = write_adapter(tmp_path / "a")
    hub.put("me/a", {**{path.name: path.read_bytes() for path in folder.iterdir()}, **EXTRA})
    return folder


def test_the_same_bytes_and_a_manifest(source: Path, tmp_path: Path) -> None:
    done = pull("hf://me/a", tmp_path / "out")
    found = tree(tmp_path / "out")
    found.pop("adapterops.json")
    manifest = json.loads((tmp_path / "out/adapterops.json").read_text())
    assert manifest["versions"].keys() == {"adapterops", "numpy"}
    assert found == tree(source)
    assert set(done.files) == set(found)
    assert done.bytes == sum(path.stat().st_size for path in source.iterdir())


def test_a_dry_run_downloads_nothing(source: Path, tmp_path: Path, hub: Hub) -> None:
    planned = pull("hf://me/a", tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    assert not hub.asked("GET /me/a/resolve")
    done = pull("hf://me/a", tmp_path / "out")
    assert (planned.revision, set(planned.files), planned.bytes) == (done.revision, set(done.files), done.bytes)


def test_what_is_there_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(OutputExistsError):
        pull("hf://me/a", tmp_path / "out", force=True)
    assert tree(tmp_path / "out").keys() == {"mine"}


def test_a_repository_without_tensors(hub: Hub, tmp_path: Path) -> None:
    hub.put("me/b", {"config.json": b"{}"})
    with pytest.raises(InputError, match=r"has no safetensors; it has config.json"):
        pull("hf://me/b", tmp_path / "out")
    assert not (tmp_path / "out").exists()
