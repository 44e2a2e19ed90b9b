"""Tensors that wait for their header."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from adapterops.storage.spool import Spool
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import file_size


def test_all_tensors_arrive_and_the_spool_is_gone(tmp_path: Path) -> None:
    tensors = {
        "large": np.random.default_rng(0).standard_normal((700, 800)).astype(np.float32),
        "none": np.zeros((0, 3), np.int32),
        "codes": np.arange(-5, 5, dtype=np.int8),
        "turned": np.arange(6.0).reshape(2, 3).T,
    }
    dtypes = {"large": "F32", "none": "I32", "codes": "I8", "turned": "F64"}
    out = tmp_path / "out.safetensors"
    with closing(Spool(tmp_path / ".spool")) as spool:
        for name, array in tensors.items():
            spool.add(name, dtypes[name], array)
        spool.into(out, {"format": "ours"})
    found = load_file(out)
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)
    assert list(tmp_path.iterdir()) == [out]
    layout = {name: Spec(dtypes[name], array.shape) for name, array in tensors.items()}
    assert out.stat().st_size == file_size(layout, {"format": "ours"})
