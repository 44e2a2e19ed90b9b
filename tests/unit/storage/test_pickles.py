"""Tensors of pickles are those that torch loads, whatever their strides; what is not one is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapterops.errors import InputError, UnsupportedError
from adapterops.storage.pickles import PickleFile, Strided

GRID = torch.arange(24, dtype=torch.float32).reshape(4, 6)
TENSORS = {
    "plain": GRID,
    "transposed": GRID.T,
    "every second column": GRID[:, ::2],
    "rows of another": GRID[1:3],
    "permuted": torch.arange(24, dtype=torch.bfloat16).reshape(2, 3, 4).permute(2, 0, 1),
    "half": GRID.half(),
    "double": GRID.double(),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 4),
    "steps": torch.tensor([7, -1]),
    "mask": torch.tensor([True, False]),
}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", TENSORS)
def test_bytes_are_those_of_the_tensor_in_its_own_order(tmp_path: Path, name: str) -> None:
    file = PickleFile(saved(tmp_path / "model.bin", TENSORS))
    loaded = torch.load(tmp_path / "model.bin", weights_only=True)[name]
    expected = loaded.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    assert file.entries[name].shape == tuple(loaded.shape)
    assert bytes(file.read(name)) == expected
    begin, end = len(expected) // 4, len(expected) // 2
    assert bytes(file.read(name, begin, end)) == expected[begin:end]
    assert b"".join(map(bytes, file.chunks(name))) == expected


@pytest.mark.parametrize("name", ["plain", "transposed", "every second column", "permuted", "half"])
def test_rows_are_those_of_the_matrix(tmp_path: Path, name: str) -> None:
    """All dimensions but the last are taken for one."""
    entry, tensor = (file := PickleFile(saved(tmp_path / "m.bin", TENSORS))).entries[name], TENSORS[name]
    bits = {"F32": torch.int32, "F16": torch.int16, "BF16": torch.int16}[entry.dtype]
    matrix = tensor.contiguous().view(bits).reshape(-1, tensor.shape[-1]).numpy()
    assert np.array_equal(file.array(name, (1, 3)).view(matrix.dtype), matrix[1:3])
    assert np.array_equal(file.array(name).view(matrix.dtype), tensor.contiguous().view(bits).numpy())


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    file = PickleFile(saved(tmp_path / "m.bin", TENSORS))
    with pytest.raises(UnsupportedError, match="I64"):
        file.array("steps")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([GRID], "holds a list, expected tensors by name"),
        ({}, "has no tensors"),
        ({1: GRID}, "has the name 1, which is not text"),
        ({"x": 1.0}, "is not a plain tensor"),
        ({"x": GRID.to_sparse()}, "is not a plain tensor"),
        ({"x": torch.zeros(2, dtype=torch.complex64)}, "is not a plain tensor"),
        ({"x": torch.zeros(1).expand(1000)}, "its entries overlap"),
        ({"x": len}, "holds more than tensors: len"),
        ({"state_dict": {"x": GRID}}, "is a dictionary of 1, and no tensor"),
    ],
    ids=["list", "empty", "number", "value", "sparse", "complex", "expanded", "function", "nested"],
)
def test_what_is_no_tensor_by_name_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        PickleFile(saved(tmp_path / "m.bin", content))
    assert caught.value.code == "E-PICKLE"


def test_data_that_is_compressed_is_not_read_as_if_it_were_not(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(saved(tmp_path / "m.bin", {"x": GRID})) as plain,
        zipfile.ZipFile(tmp_path / "small.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(InputError):
        PickleFile(tmp_path / "small.bin")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_is_cut_off(tmp_path: Path, kept: float) -> None:
    data = saved(tmp_path / "m.bin", {"x": GRID}).read_bytes()
    (tmp_path / "m.bin").write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match="is not read"):
        PickleFile(tmp_path / "m.bin")


def test_an_old_torch_does_not_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    with pytest.raises(UnsupportedError, match=r"torch 2\.9\.1 does not load pickles safely"):
        PickleFile(saved(tmp_path / "m.bin", {"x": GRID}))


def test_the_extent_of_strides_is_that_of_numpy() -> None:
    for view in (np.zeros((4, 6)), np.zeros((4, 6)).T, np.zeros((4, 6))[::2, 1::3], np.zeros(()), np.zeros((0, 3))):
        low, high = np.lib.array_utils.byte_bounds(view)
        assert Strided(0, view.shape, view.strides).extent(8) == (high - low if view.size else 0)
