"""GGUF files, read by the library that owns the format and by our own reader."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from adapterops.storage.gguf import GgufFile
from adapterops.storage.gguf_writer import write_gguf
from adapterops.storage.tensors import Spec

LAYOUT = {"a": Spec("F32", (4, 5)), "b": Spec("F16", (3, 7)), "c": Spec("F32", (9,))}
FIELDS = {"general.architecture": "llama", "adapter.lora.alpha": 0.1}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(10, dtype=np.float32).reshape(2, 5),  # smaller than planned
        "b": np.ones((3, 7), np.float16),
        "c": np.full(9, -1, np.float32),
    }
    write_gguf(tmp_path / "x.gguf", LAYOUT, iter(arrays.items()), FIELDS)
    own, theirs = GgufFile(tmp_path / "x.gguf"), gguf.GGUFReader(tmp_path / "x.gguf")
    assert own.fields == {"general.architecture": "llama", "adapter.lora.alpha": pytest.approx(0.1)}
    assert theirs.fields["general.architecture"].contents() == "llama"
    for stored in theirs.tensors:
        np.testing.assert_array_equal(stored.data, arrays[stored.name])
        np.testing.assert_array_equal(own.array(stored.name), arrays[stored.name])
    assert (tmp_path / "x.gguf").stat().st_size % 32 == 0


def test_all_of_the_layout_must_come(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="did not come"):
        write_gguf(tmp_path / "x.gguf", LAYOUT, iter([("a", np.ones((4, 5), np.float32))]), FIELDS)
