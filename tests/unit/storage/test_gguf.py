"""GGUF files by the library that owns the format, and what no such library would write."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import BF16, Q8, write

from adapterops.arrays.floats import widened
from adapterops.arrays.scratch import Scratch
from adapterops.errors import AdapterOpsError, InputError
from adapterops.storage.gguf import GgufFile
from adapterops.storage.safetensors import SafetensorsFile

DOWN, VALUE, QUERY = "blk.1.ffn_down.weight.lora_b", "blk.1.attn_v.weight.lora_a", "blk.0.attn_q.weight.lora_a"


def fields(writer: gguf.GGUFWriter) -> None:
    writer.add_array("some.texts", ["a", "bc", ""])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_bool("some.truth", True)
    writer.add_uint64("some.count", 2**40)


def test_what_the_library_wrote_is_read(tmp_path: Path) -> None:
    types = {VALUE: BF16, QUERY: Q8, "blk.0.attn_k.weight.lora_a": gguf.GGMLQuantizationType.F16}
    path = write(tmp_path / "a.gguf", stored=types, alter=fields)
    file, known = GgufFile(path), gguf.GGUFReader(path)
    assert {name: entry.shape for name, entry in file.entries.items()} == {
        each.name: tuple(int(size) for size in each.shape[::-1]) for each in known.tensors
    }
    for each in known.tensors:
        expected = gguf.dequantize(each.data, each.tensor_type)
        dtype = file.entries[each.name].dtype
        assert dtype == {"Q8_0": "F32"}.get(each.tensor_type.name, each.tensor_type.name)
        np.testing.assert_array_equal(widened(file.array(each.name), dtype, Scratch()), expected, err_msg=each.name)
        some = widened(file.array(each.name, (1, 3)), dtype, Scratch())
        np.testing.assert_array_equal(some, expected.reshape(-1, expected.shape[-1])[1:3])
        stored = np.frombuffer(b"".join(map(bytes, file.chunks(each.name))), file.array(each.name).dtype)
        np.testing.assert_array_equal(stored.reshape(expected.shape), file.array(each.name))
    assert file.fields["adapter.lora.alpha"] == 8.0
    assert file.fields["general.name"] == "größer"
    assert file.fields["some.truth"] is True
    assert file.fields["some.count"] == 2**40
    assert file.fields["some.texts"] is None


def test_an_alignment_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", alter=lambda writer: writer.add_custom_alignment(256))
    known = gguf.GGUFReader(path)
    for each in known.tensors:
        np.testing.assert_array_equal(GgufFile(path).array(each.name), gguf.dequantize(each.data, each.tensor_type))


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 1400, 7), len(whole) - 5000, len(whole) - 33, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError):
            GgufFile(cut)


def test_what_follows_the_last_tensor_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    path.write_bytes(path.read_bytes() + bytes(64))
    with pytest.raises(InputError, match="after its last tensor"):
        GgufFile(path)


def test_under_another_name_it_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a GGUF file") as raised:
        SafetensorsFile(write(tmp_path / "a.safetensors"))
    assert ".gguf" in str(raised.value)


def test_a_changed_byte_ends_in_an_error_of_ours_or_in_tensors(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.gguf").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for position in random.integers(0, 900, random.integers(1, 4)):
            data[position] = random.integers(256)
        (tmp_path / "b.gguf").write_bytes(data)
        try:
            file = GgufFile(tmp_path / "b.gguf")
            assert all(file.array(name).size for name in file.entries)
        except AdapterOpsError:
            pass
