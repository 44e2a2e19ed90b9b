"""Tensors of a GGUF model in another order of rows, there and back."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf_models import mixed, write

from adapterops.storage.gguf import GgufFile
from adapterops.storage.gguf_rows import GgufRows, Span

QUERY, KEY, VALUE = (f"blk.1.attn_{name}.weight" for name in "qkv")


def opened(path: Path) -> GgufRows:
    file = GgufFile(path)
    spans = {f"own.{name}": Span(name, 0, entry.shape) for name, entry in file.raw.entries.items()}
    value = spans.pop(f"own.{VALUE}")
    height, width = value.shape
    spans |= {f"{part}.{VALUE}": Span(VALUE, part * height // 4, (height // 4, width)) for part in range(4)}
    return GgufRows(file, spans, {f"own.{QUERY}": 4, f"own.{KEY}": 2})


def halves(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows in pairs as rows in halves."""
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def test_rows_of_bytes_change_places_as_rows_of_numbers_do(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama", mixed)
    rows, known = opened(path), {each.name: each for each in gguf.GGUFReader(path).tensors}
    for name, heads, dtype in ((QUERY, 4, np.uint8), (KEY, 2, np.float16)):
        expected = halves(np.asarray(known[name].data), heads)
        own = f"own.{name}"
        assert rows.read(own) == bytearray(expected.tobytes())
        assert b"".join(map(bytes, rows.chunks(own))) == expected.tobytes()
        width = expected.nbytes // len(expected)
        assert rows.read(own, 5 * width, 70 * width) == bytearray(expected[5:70].tobytes())
        assert expected.dtype == dtype
    np.testing.assert_array_equal(rows.array(f"own.{KEY}", (3, 90)), halves(np.asarray(known[KEY].data), 2)[3:90])
    np.testing.assert_array_equal(rows.array(f"own.{KEY}"), halves(np.asarray(known[KEY].data), 2))
    whole = np.asarray(known[VALUE].data)
    for part, each in enumerate(np.split(whole, 4)):
        own = f"{part}.{VALUE}"
        assert rows.read(own) == bytearray(each.tobytes())
        assert rows.read(own, 7, 90) == bytearray(each.tobytes()[7:90])


def test_rows_of_a_tensor_are_a_weight(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama")
    rows, known = opened(path), {each.name: np.asarray(each.data) for each in gguf.GGUFReader(path).tensors}
    for part, each in enumerate(np.split(known[VALUE], 4)):
        np.testing.assert_array_equal(rows.array(f"{part}.{VALUE}"), each)
        np.testing.assert_array_equal(rows.array(f"{part}.{VALUE}", (3, 9)), each[3:9])
