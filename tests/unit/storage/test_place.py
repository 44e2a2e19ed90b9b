"""Where files are: here, one adapter of many, and what is made of them."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapterops.errors import InputError
from adapterops.storage.place import COLLECTION, Place, check_inside


def test_one_of_a_collection_is_named_in_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / COLLECTION).touch()
    place = Place.of(f"{folder}#style")
    assert (place.path, place.member, str(place)) == (folder, "style", f"{folder}#style")
    assert place.sibling("-r8") == tmp_path / "style-r8"
    (tmp_path / "a#b").mkdir()
    assert Place.of(tmp_path / "a#b").path == tmp_path / "a#b", "a folder that is called so"
    assert Place.of(f"{tmp_path}/none#b").member == "", "nothing is there that it could be of"
    assert Place.of(place) is place


def test_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    place = Place.of(tmp_path)
    assert (place.folder, place.exists, Place.of(tmp_path / "b").folder) == (True, True, False)
    assert [path.name for path in place.entries()] == ["a", "b", "link"]
    assert [place.has(tmp_path / name) for name in ("b", "link", "c")] == [True, True, False]
    assert not place.missing()
    assert place.local() == tmp_path


def test_the_folder_that_may_not_be_looked_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, **how: object) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(InputError, match="cannot be read") as caught:
        Place(tmp_path).has(tmp_path / "collection.safetensors")
    assert caught.value.path == str(tmp_path)


@pytest.mark.parametrize(("path", "sibling"), [("runs/a", "runs/a-r8"), ("runs/a.safetensors", "runs/a-r8")])
def test_what_is_made_of_it_stands_next_to_it(tmp_path: Path, path: str, sibling: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / path).touch() if path.endswith("s") else (tmp_path / path).mkdir()
    assert Place.of(tmp_path / path).sibling("-r8") == tmp_path / sibling


def test_a_pickle_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "adapter.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="is a Python pickle") as caught:
        Place.of(tmp_path).open(tmp_path / "adapter.bin")
    assert "--allow-pickle" in str(caught.value.hint)


def test_a_link_stays_in_its_folder_or_in_the_blobs_of_the_cache(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a/snapshots/0", tmp_path / "models--a/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for target in (blobs / "x", snapshot / "y", tmp_path / "secret"):
        target.touch()
    for name, target in (("in", snapshot / "y"), ("blob", blobs / "x"), ("out", tmp_path / "secret")):
        (snapshot / name).symlink_to(target)
    check_inside(snapshot / "in")
    check_inside(snapshot / "blob")
    with pytest.raises(InputError, match="leads out of its folder"):
        check_inside(snapshot / "out")


def test_a_file_is_opened_once_where_that_is_asked_for(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    place = Place(tmp_path)
    assert place.open(tmp_path / "a.safetensors") is not place.open(tmp_path / "a.safetensors")
    once = place.once()
    assert once.once() is once
    assert once.open(tmp_path / "a.safetensors") is once.open(tmp_path / "a.safetensors")
