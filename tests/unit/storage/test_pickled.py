"""Files that are called as pickles and are something else are told what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adapterops.errors import InputError
from adapterops.storage.pickled import check_pickle
from adapterops.storage.pickles import PickleFile
from adapterops.storage.place import Place

SAFETENSORS = b'\x40\0\0\0\0\0\0\0{"x": {}}'


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git-LFS pointer"),
        (b"<!DOCTYPE html>", "an error page"),
        (b"\x1f\x8b\x08\0", "gzip data"),
        (SAFETENSORS, "this is a safetensors file"),
        (b"\0\1\2", "is not a PyTorch pickle"),
    ],
    ids=["empty", "pointer", "page", "gzip", "safetensors", "anything"],
)
@pytest.mark.parametrize("allow", [False, True])
def test_what_is_no_pickle_is_called_what_it_is(tmp_path: Path, start: bytes, message: str, allow: bool) -> None:
    path = tmp_path / "adapter_model.bin"
    path.write_bytes(start)
    with pytest.raises(InputError, match=message) as caught:
        Place(tmp_path, allow_pickle=allow).open(path)
    assert caught.value.path == str(path)
    assert "Python pickle" not in str(caught.value)


def test_what_begins_as_pickles_do(tmp_path: Path) -> None:
    for start in (b"PK\x03\x04", b"\x80\x02"):
        check_pickle(start)


def test_files_of_torch_before_archives_are_told_how_to_become_one(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    torch.save({"x": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"as torch before 1\.6 saves") as caught:
        PickleFile(path)
    assert "torch.save(torch.load" in str(caught.value.hint)
