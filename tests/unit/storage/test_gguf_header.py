"""Headers of GGUF files that no library would write."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from adapterops.errors import InputError, UnsupportedError
from adapterops.storage.gguf import GgufFile


def text(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def tensor(name: str, shape: list[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def raw(path: Path, fields: list[bytes], tensors: list[bytes], data: int = 64, version: int = 3) -> Path:
    header = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(fields)) + b"".join(fields + tensors)
    path.write_bytes(header + bytes(-len(header) % 32 + data))
    return path


ALPHA = text("alpha") + struct.pack("<If", 6, 1.0)
GOOD = [tensor("a", [8], 0, 0), tensor("b", [8], 0, 32)]
BAD: dict[str, tuple[list[bytes], list[bytes], str]] = {
    "a field twice": ([ALPHA, ALPHA], GOOD, "there twice"),
    "a tensor twice": ([], [GOOD[0], tensor("a", [8], 0, 32)], "there twice"),
    "a name that is no text": ([text(b"\xff") + struct.pack("<If", 6, 1.0)], GOOD, "not UTF-8"),
    "a name that is a path": ([], [tensor("../a", [8], 0, 0)], "unsafe"),
    "a type of field": ([text("a") + struct.pack("<I", 13)], GOOD, "of type 13"),
    "a truth that is neither": ([text("a") + struct.pack("<IB", 7, 2)], GOOD, "neither 0 nor 1"),
    "an array of arrays": ([text("a") + struct.pack("<IIQ", 9, 9, 1)], GOOD, "an array of type 9"),
    "an array without end": ([text("a") + struct.pack("<IIQ", 9, 4, 2**62)], GOOD, "cut off"),
    "texts without end": ([text("a") + struct.pack("<IIQ", 9, 8, 2**40)], GOOD, "more than the file has room for"),
    "a text without end": ([struct.pack("<Q", 2**63)], GOOD, "cut off"),
    "an alignment of 3": ([text("general.alignment") + struct.pack("<II", 4, 3)], GOOD, "power of two"),
    "an alignment of 0": ([text("general.alignment") + struct.pack("<II", 4, 0)], GOOD, "power of two"),
    "no dimensions": ([], [tensor("a", [], 0, 0)], "0 dimensions"),
    "five dimensions": ([], [tensor("a", [1] * 5, 0, 0)], "5 dimensions"),
    "an empty tensor": ([], [tensor("a", [0], 0, 0)], "impossible shape"),
    "entries beyond count": ([], [tensor("a", [2**32, 2**32, 2], 0, 0)], "impossible shape"),
    "a hole": ([], [GOOD[0], tensor("b", [8], 0, 64)], "begins at byte 64"),
    "an overlap": ([], [GOOD[0], tensor("b", [8], 0, 0)], "begins at byte 0"),
    "half a block": ([], [tensor("a", [16, 2], 8, 0)], "not whole blocks of 32"),
    "larger than the file": ([], [tensor("a", [2**20], 0, 0)], "cut off"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_breaks_a_rule_is_refused(case: str, tmp_path: Path) -> None:
    assert GgufFile(raw(tmp_path / "good.gguf", [ALPHA], GOOD)).entries.keys() == {"a", "b"}
    fields, tensors, message = BAD[case]
    with pytest.raises(InputError, match=message):
        GgufFile(raw(tmp_path / "bad.gguf", fields, tensors))


def test_counts_beyond_reason_are_refused(tmp_path: Path) -> None:
    for counts in ((2**40, 0), (0, 2**40)):
        (tmp_path / "a.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, *counts) + bytes(64))
        with pytest.raises(InputError, match="at most"):
            GgufFile(tmp_path / "a.gguf")


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    for version in (1, 4, 3 << 24):
        with pytest.raises(UnsupportedError, match=f"version {version}"):
            GgufFile(raw(tmp_path / "a.gguf", [], GOOD, version=version))
    with pytest.raises(UnsupportedError, match="type 15 of ggml") as raised:
        GgufFile(raw(tmp_path / "a.gguf", [], [tensor("a", [256], 15, 0)], 292))
    assert raised.value.tensor == "a"
    assert "checkpoint" in str(raised.value)
