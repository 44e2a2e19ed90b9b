"""Bytes and shapes of tensors, and whether two hold the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterops.errors import UnsupportedError
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Spec, Stored, as_bytes, kernel, matrix


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((), (1, 1)), ((5,), (1, 5)), ((2, 3), (2, 3)), ((4, 2, 3), (8, 3)), ((4, 2, 3, 3), (4, 18)), ((0, 4), (0, 4))],
)
def test_a_tensor_as_a_matrix(shape: tuple[int, ...], seen: tuple[int, int]) -> None:
    assert matrix(shape) == Spec("F32", shape).matrix == seen


def test_a_kernel_has_its_outputs_first() -> None:
    assert kernel((8, 4, 3)) == (8, 12)
    assert kernel((8, 4)) == (8, 4)


@pytest.mark.parametrize(("dtype", "size"), [("F64", 48), ("BF16", 12), ("F8_E4M3", 6), ("BOOL", 6)])
def test_bytes_are_those_of_the_dtype(dtype: str, size: int) -> None:
    assert Spec(dtype, (2, 3)).bytes == size


def test_the_same_bytes_of_one_dtype_and_shape(tmp_path: Path) -> None:
    values = torch.arange(6.0).reshape(2, 3)
    one = {"a": values, "c": values.to(torch.float16), "d": values.reshape(3, 2).clone(), "i": values.to(torch.int64)}
    save_file({**one, "e": values + 1}, tmp_path / "one")
    save_file({"b": values.clone()}, tmp_path / "other")
    one_file, other = (SafetensorsFile(tmp_path / name) for name in ("one", "other"))
    alike = [name for name in one_file.entries if Stored(one_file, name).same_bytes(Stored(other, "b"))]
    assert alike == ["a"]
    assert Stored(one_file, "a").tensor((1, 2)).tolist() == [[3, 4, 5]]
    with pytest.raises(UnsupportedError, match="I64, which is not a dtype for arithmetic"):
        one_file.array("i")


@pytest.mark.parametrize(
    "dtype",
    [torch.int64, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64],
    ids=str,
)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 3)], ids=str)
def test_a_tensor_of_any_dtype_of_torch_is_what_safetensors_loads(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    values = torch.randint(0, 2, shape).to(dtype)
    save_file({"a": values}, tmp_path / "one")
    found, expected = Stored(SafetensorsFile(tmp_path / "one"), "a").tensor(), load_file(tmp_path / "one")["a"]
    assert (found.dtype, found.shape) == (dtype, shape)
    assert torch.equal(found.view(torch.uint8) if shape else found, expected.view(torch.uint8) if shape else expected)


def test_bytes_of_a_tensor_without_a_copy() -> None:
    tensor = torch.arange(4, dtype=torch.int16).reshape(2, 2)
    assert bytes(as_bytes(tensor)) == np.arange(4, dtype="<i2").tobytes()
    assert bytes(as_bytes(torch.empty(0, 3))) == b""
