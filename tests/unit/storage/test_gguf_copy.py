"""A GGUF file written again: the same, or with some tensors in other types."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_models import mixed, write

from adapterops.errors import AdapterOpsError
from adapterops.storage.gguf import GgufFile
from adapterops.storage.gguf_copy import GgufCopy
from adapterops.storage.gguf_rows import GgufRows, Span

QUERY, KEY, VALUE = (f"blk.1.attn_{name}.weight" for name in "qkv")


def opened(path: Path) -> GgufRows:
    file = GgufFile(path)
    spans = {f"own.{name}": Span(name, 0, entry.shape) for name, entry in file.raw.entries.items()}
    value = spans.pop(f"own.{VALUE}")
    height, width = value.shape
    spans |= {f"{part}.{VALUE}": Span(VALUE, part * height // 4, (height // 4, width)) for part in range(4)}
    return GgufRows(file, spans, {f"own.{QUERY}": 4, f"own.{KEY}": 2})


@pytest.mark.parametrize("alignment", [None, 256])
def test_what_is_read_and_written_is_the_same_file(alignment: int | None, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.gguf",
        "llama",
        mixed,
        alter=lambda writer: writer.add_custom_alignment(alignment) if alignment else None,
    )
    rows = opened(path)
    copy = GgufCopy(tmp_path / "b.gguf", rows)
    for name in reversed(rows.entries):
        offset = 0
        for chunk in rows.chunks(name):
            copy.write(name, chunk, offset)
            offset += len(chunk)
    copy.check()
    assert copy.blake3() == rows.identity.digest()
    copy.close()
    assert (tmp_path / "b.gguf").read_bytes() == path.read_bytes()


def test_another_header_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama")
    copy = GgufCopy(tmp_path / "b.gguf", opened(path))
    copy.close()
    (tmp_path / "b.gguf").write_bytes(write(tmp_path / "c.gguf", "qwen2").read_bytes())
    with pytest.raises(AdapterOpsError, match="another header"):
        copy.check()


@pytest.mark.parametrize("alignment", [None, 256])
def test_some_tensors_get_another_type(alignment: int | None, tmp_path: Path) -> None:
    """The library that owns the format reads them, in the order of the file, and every other one as it was."""
    path = write(
        tmp_path / "a.gguf",
        "llama",
        mixed,
        alter=lambda writer: writer.add_custom_alignment(alignment) if alignment else None,
    )
    rows, types = opened(path), {QUERY: "Q8_0", VALUE: "F32"}
    copy = GgufCopy(tmp_path / "b.gguf", rows, types)
    known = {each.name: each for each in gguf.GGUFReader(path).tensors}
    made = {name: gguf.dequantize(known[name].data, known[name].tensor_type) for name in types}
    made[QUERY] = gguf.quantize(made[QUERY], gguf.GGMLQuantizationType.Q8_0)
    halves = made[QUERY].reshape(4, -1, 2, made[QUERY].shape[1]).swapaxes(1, 2)
    copy.write(f"own.{QUERY}", np.ascontiguousarray(halves).tobytes())
    for part, each in enumerate(np.split(made[VALUE], 4)):
        copy.write(f"{part}.{VALUE}", each.tobytes())
    for name, span in rows.spans.items():
        if span.stored not in types:
            copy.write(name, rows.read(name))
    copy.check()
    copy.close()
    found = gguf.GGUFReader(tmp_path / "b.gguf")
    assert [each.name for each in found.tensors] == list(known)
    for each in found.tensors:
        assert each.tensor_type.name == types.get(each.name, known[each.name].tensor_type.name)
        np.testing.assert_array_equal(each.data, made.get(each.name, known[each.name].data))
    assert [*found.fields] == [*gguf.GGUFReader(path).fields]
