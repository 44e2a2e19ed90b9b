"""Numbers, their neighbours and their scale, of codes on a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from codes import normal
from safetensors.torch import save_file

from adapterops.checkpoints.stored import StoredTensor
from adapterops.quant.compressed import CompressedTensors
from adapterops.quant.fp8 import FP8
from adapterops.quant.scheme import Scheme
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Stored
from adapterops.verification.decoding import decoder, grid
from adapterops.verification.grids import GridRows


def entries(place: Path, scheme: Scheme, shape: tuple[int, int], parts: dict[str, torch.Tensor]) -> GridRows:
    save_file({role: part.contiguous() for role, part in parts.items()}, place / "parts.safetensors")
    file = SafetensorsFile(place / "parts.safetensors")
    weight = StoredTensor({role: Stored(file, role) for role in parts}, shape, scheme)
    on_grid, rows = grid(weight), decoder(weight)
    assert on_grid
    assert rows
    found = on_grid(0, shape[0])
    assert np.array_equal(found.number * found.scale, rows(0, shape[0]))
    return found


def test_neighbours_are_the_next_numbers_of_eight_bits(tmp_path: Path) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    codes = every[every.double().isfinite()][:252].reshape(12, 21)
    parts = {"weight": codes, "weight_scale_inv": normal(1, 3, 3).abs()}
    found = entries(tmp_path, FP8((5, 8), "weight_scale_inv", "F8_E4M3", "F32", (3, 3)), (12, 21), parts)
    numbers = np.unique(every[every.double().isfinite()].double().numpy())
    place = np.searchsorted(numbers, found.number)
    assert np.array_equal(found.number - found.down, numbers[np.maximum(place - 1, 0)])
    assert np.array_equal(found.number + found.up, numbers[np.minimum(place + 1, len(numbers) - 1)])


def test_integers_have_no_neighbour_past_the_last(tmp_path: Path) -> None:
    codes = torch.arange(16).repeat(4, 1)  # of four bits, zero at 8: from -8 to 7
    words = (codes.reshape(4, 2, 8) << torch.arange(0, 32, 4)).sum(2)
    packed = torch.where(words >= 2**31, words - 2**32, words).int()
    scale = normal(2, 4, 1).abs().half()
    parts = {"weight_packed": packed, "weight_scale": scale, "weight_shape": torch.tensor([4, 16])}
    found = entries(tmp_path, CompressedTensors(4, 16, True), (4, 16), parts)
    assert np.array_equal(found.number, np.tile(np.arange(-8.0, 8), (4, 1)))
    assert np.array_equal(found.down, np.tile([0.0] + 15 * [1], (4, 1)))
    assert np.array_equal(found.up, np.tile(15 * [1.0] + [0], (4, 1)))
    assert np.array_equal(found.scale, np.repeat(scale.double().numpy(), 16, axis=1))
