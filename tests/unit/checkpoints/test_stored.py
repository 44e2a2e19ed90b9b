"""A tensor as it is stored: whole, or in parts that stand for numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import InputError
from adapterops.quant.int8 import Int8
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Stored


def stored(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Stored]:
    save_file(tensors, path)
    file = SafetensorsFile(path)
    return {name: Stored(file, name) for name in tensors}


def test_rows_of_a_whole_tensor_are_widened(tmp_path: Path) -> None:
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    tensor = StoredTensor({"": stored(tmp_path / "a", {"w": values})["w"]}, (6, 4))
    assert tensor.dtype == "BF16"
    rows = tensor.rows(1, 3, Scratch())
    assert rows.dtype == np.float32
    assert np.array_equal(rows, values[1:3].float().numpy())


def test_rows_of_codes_are_what_these_stand_for(tmp_path: Path) -> None:
    codes = torch.randint(-127, 128, (3, 4), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    for scale, fits in ((torch.tensor([127.0, 12.7, 1.27]), True), (torch.tensor([1.0, torch.inf, 1.0]), False)):
        parts = stored(tmp_path / f"{fits}", {"weight": codes, "SCB": scale})
        tensor = StoredTensor(parts, (3, 4), Int8())
        if fits:
            np.testing.assert_allclose(tensor.rows(0, 3, Scratch()), codes * scale[:, None] / 127, rtol=1e-6)
        else:
            with pytest.raises(InputError, match="stand for NaN or infinity"):
                tensor.rows(0, 3, Scratch())


def test_the_same_bytes_in_all_parts(tmp_path: Path) -> None:
    one, other = (
        stored(tmp_path / name, {"weight": torch.ones(2, 2), "SCB": torch.full((2,), number)})
        for name, number in (("a", 1.0), ("b", 2.0))
    )
    tensor = StoredTensor(one, (2, 2))
    assert tensor.same_bytes(StoredTensor(dict(one), (2, 2)))
    assert not tensor.same_bytes(StoredTensor(other, (2, 2)))
    assert not tensor.same_bytes(StoredTensor({"weight": one["weight"]}, (2, 2)))
