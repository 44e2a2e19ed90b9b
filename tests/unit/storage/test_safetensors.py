"""Bytes and rows of a file, and what is said of one that changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import entry, file_bytes
from safetensors.torch import save_file

from adapterops.errors import InputError
from adapterops.storage import safetensors
from adapterops.storage.safetensors import SafetensorsFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tensors = {"a": torch.arange(24.0).reshape(2, 3, 4), "b": torch.arange(5, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "file", metadata={"format": "pt"})
    return tmp_path / "file"


def test_a_tensor_and_its_rows(path: Path) -> None:
    file = SafetensorsFile(path)
    assert file.metadata == {"format": "pt"}
    assert file.array("a").shape == (2, 3, 4)
    assert file.array("a", (2, 4)).tolist() == np.arange(8.0, 16.0).reshape(2, 4).tolist()
    assert bytes(file.read("b")) == torch.arange(5, dtype=torch.bfloat16).view(torch.uint8).numpy().tobytes()
    assert file.read("a", 4, 8) == np.float32(1).tobytes()
    with pytest.raises(AssertionError, match="a has 96 bytes, not 92 to 100"):
        file.read("a", 92, 100)


def test_chunks_are_the_tensor(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "CHUNK", 40)
    file = SafetensorsFile(path)
    pieces = [bytes(each) for each in file.chunks("a")]
    assert [len(each) for each in pieces] == [40, 40, 16]
    assert b"".join(pieces) == bytes(file.read("a"))


def test_a_file_that_shrank_is_named(path: Path) -> None:
    file = SafetensorsFile(path)
    last = max(file.entries, key=lambda name: file.entries[name].end)
    with open(path, "r+b") as handle:
        handle.truncate(path.stat().st_size - 4)
    with pytest.raises(InputError, match="the file shrank while it was read") as caught:
        file.read(last)
    assert (caught.value.code, caught.value.path) == ("E-CHANGED", str(path))


def test_a_boolean_is_0_or_1(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(file_bytes({"x": entry([2], 0, 2, "BOOL")}, b"\x01\x02"))
    with pytest.raises(InputError, match="neither 0 nor 1"):
        SafetensorsFile(path).read("x")
