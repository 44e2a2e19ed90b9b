"""Every rule of the header of a safetensors file, by a file that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from corpus import A, B, entry, file_bytes, good_header

from adapterops.errors import InputError
from adapterops.storage.header import check_name, parse_header, read_header
from adapterops.storage.tensors import Entry


def read(data: bytes) -> Any:
    return read_header(lambda begin, count: data[begin : begin + count], len(data))


def test_a_good_header() -> None:
    metadata, entries, start = read(file_bytes(good_header(__metadata__={"format": "pt"}), bytes(20)))
    assert metadata == {"format": "pt"}
    assert entries == {A: Entry("F32", (1, 2), 0, 8), B: Entry("F32", (3, 1), 8, 20)}
    assert start == len(file_bytes(good_header(__metadata__={"format": "pt"})))
    assert read(file_bytes(good_header(__metadata__=None), bytes(20)))[0] == {}, "as MLX writes it"


@pytest.mark.parametrize(
    ("fields", "size", "code"),
    [
        ({"x": entry([2], 0, 8, "F33")}, 8, "E-ST-DTYPE"),
        ({"x": entry([2], 0, 12)}, 12, "E-ST-SHAPE"),
        ({"x": entry([-1], 0, 4)}, 4, "E-ST-SHAPE"),
        ({"x": entry([1] * 9, 0, 4)}, 4, "E-ST-SHAPE"),
        ({"x": entry([True], 0, 4)}, 4, "E-ST-SHAPE"),
        ({"x": entry([2], 8, 0)}, 8, "E-ST-OFFSET"),
        ({"x": entry([2], 4, 12)}, 12, "E-ST-OFFSET"),
        ({"x": entry([2], 0, 8), "y": entry([2], 4, 12)}, 12, "E-ST-OFFSET"),
        ({"x": entry([2], 0, 8)}, 7, "E-ST-TRUNCATED"),
        ({"x": entry([2], 0, 8)}, 9, "E-ST-TRAILING"),
        ({"x": {**entry([2], 0, 8), "more": 1}}, 8, "E-ST-HEADER"),
        ({"__metadata__": {"a": 1}, "x": entry([2], 0, 8)}, 8, "E-ST-HEADER"),
        ({}, 0, "E-ST-EMPTY"),
        ({"../x": entry([2], 0, 8)}, 8, "E-ST-NAME"),
    ],
)
def test_a_broken_rule(fields: dict[str, Any], size: int, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read(file_bytes(fields, bytes(size)))
    assert caught.value.code == code


def test_a_key_that_is_there_twice() -> None:
    text = b'{"x": {"dtype": "F32", "dtype": "F16", "shape": [2], "data_offsets": [0, 8]}}'
    with pytest.raises(InputError, match="the header the key 'dtype' appears twice") as caught:
        parse_header(text, 8)
    assert caught.value.code == "E-ST-HEADER"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git-LFS pointer"),
        (b"<!DOCTYPE html><html></html>____________", "HTML or XML"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
        (b"inputs: {a: b}\nresult: a\noutput: {path: x}", "this is text"),
        (b"\xff" * 7 + b"\x00{" + bytes(40), "its header would take"),
        (bytes(40), "no JSON header"),
    ],
)
def test_what_is_no_safetensors_file(data: bytes, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read(data)


def test_a_header_above_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterops.storage.header.HEADER_LIMIT", 9)
    with pytest.raises(InputError, match="above the limit of 9"):
        read(file_bytes(good_header(), bytes(20)))


@pytest.mark.parametrize("name", ["", "a/../b", "/a", "\\a", "a\nb", "x" * 513])
def test_unsafe_names(name: str) -> None:
    with pytest.raises(InputError, match="unsafe"):
        check_name(name)
