"""Files with floats in 8 bits: their numbers as float32, and all else as it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapterops.storage.fp8 import Fp8File, in_floats
from adapterops.storage.safetensors import SafetensorsFile


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {
        "a": torch.randn(6, 5).to(torch.float8_e4m3fn),
        "b": torch.randn(4, 3, 3, 3).to(torch.float8_e5m2),
        "c": torch.randn(2, 3),
    }


def test_every_tensor_and_its_rows_are_what_torch_has(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    file = in_floats(SafetensorsFile(tmp_path / "a.safetensors"))
    for name, tensor in tensors.items():
        wanted = tensor.float().numpy()
        assert file.entries[name].spec == ("F32", tuple(tensor.shape))
        np.testing.assert_array_equal(file.array(name), wanted)
        np.testing.assert_array_equal(file.array(name, (1, 2)), wanted.reshape(len(wanted), -1)[1:2])
        assert file.read(name) == wanted.tobytes() == b"".join(file.chunks(name))
        assert file.read(name, 4, 12) == wanted.tobytes()[4:12]


def test_a_file_without_them_is_itself(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    for name, path in (("c", tmp_path / "c.safetensors"), ("a", tmp_path / "a.safetensors")):
        save_file({name: tensors[name]}, path)
        file = SafetensorsFile(path)
        assert (in_floats(file) is file) == (name == "c")
        assert isinstance(in_floats(file), Fp8File) == (name == "a")
