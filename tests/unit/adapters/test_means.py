from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapterops.adapters.means import mean
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Stored


def stored(path: Path, values: np.ndarray) -> Stored:
    save_file({"head.weight": values}, path)
    return Stored(SafetensorsFile(path), "head.weight")


def test_the_weighted_mean_rounded_once(tmp_path: Path) -> None:
    one, two = (np.random.default_rng(seed).standard_normal((5, 4)) for seed in (0, 1))
    narrow = stored(tmp_path / "narrow.safetensors", one.astype(np.float16))
    found = mean([narrow, stored(tmp_path / "wide.safetensors", two.astype(np.float32))], [3.0, -1.0])
    expected = (1.5 * one.astype(np.float16).astype(np.float64) - 0.5 * two.astype(np.float32)).astype(np.float32)
    assert found.spec == ("F32", (5, 4))
    np.testing.assert_array_equal(found.file.array(found.name), expected)
    np.testing.assert_array_equal(found.file.array(found.name, (1, 3)), expected[1:3])
    assert b"".join(found.file.chunks(found.name)) == expected.tobytes()
    assert found.file.read(found.name, 8, 16) == expected.tobytes()[8:16]


def test_what_is_the_same_stays(tmp_path: Path) -> None:
    one, two = (stored(tmp_path / f"{name}.safetensors", np.ones((3, 2), np.float32) / 3) for name in "ab")
    assert mean([one, two], [1.0, -1.0]) is one


def test_what_has_no_mean(tmp_path: Path) -> None:
    one = stored(tmp_path / "a.safetensors", np.ones((3, 2), np.float32))
    with pytest.raises(IncompatibleError, match=r"is \[4, 2\], and \[3, 2\]"):
        mean([one, stored(tmp_path / "b.safetensors", np.ones((4, 2), np.float32))], [1, 1])
    with pytest.raises(UnsupportedError, match="I64"):
        mean([one, stored(tmp_path / "c.safetensors", np.ones((3, 2), np.int64))], [1, 1])
    with pytest.raises(OptionError, match="add up to 0"):
        mean([one, stored(tmp_path / "d.safetensors", np.zeros((3, 2), np.float32))], [1, -1])
