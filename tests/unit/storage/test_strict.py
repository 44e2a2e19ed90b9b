"""JSON that has one meaning, and files that are files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapterops.errors import InputError, NotFoundError
from adapterops.storage.strict import CORRECT, DEPTH, json_text, open_regular, parse_json, read_json, reading, similar


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b'{"r": 1e999}', "r: 1e999 is beyond the numbers of float64"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'"\xff"', "is not UTF-8 (byte 1)"),
        (b"{'a': 1}", "is not JSON"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), f"nested more than {DEPTH} deep"),
        (b"9" * 5000, "is not readable JSON"),
    ],
)
def test_what_parsers_read_differently(text: bytes, fact: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(text)
    assert fact in str(caught.value)


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, "ü"]}, [], "😀", 10**300])
def test_what_is_written_is_read(value: object) -> None:
    assert parse_json(json_text(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


def test_what_is_no_character_is_replaced() -> None:
    assert json_text("caf\udce9") == b'"caf?"'
    with pytest.raises(ValueError, match="JSON"):
        json_text(float("nan"))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.close(open_regular(tmp_path / "file"))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("pipe", "."):
        with pytest.raises(InputError):
            open_regular(tmp_path / name)
    with pytest.raises(NotFoundError, match="is a link to a file that does not exist"):
        open_regular(tmp_path / "link")
    with pytest.raises(NotFoundError, match="does not exist"):
        open_regular(tmp_path / "gone")


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'{"r": 8,}'])
def test_what_helps_where_a_file_is_not_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "config.json")
    assert caught.value.hint == CORRECT


def test_what_is_too_large_is_not_told_to_be_correct(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(InputError, match="is larger than 1 bytes") as caught:
        read_json(tmp_path / "config.json", limit=1)
    assert caught.value.hint is None


def test_a_failure_of_the_system_is_one_of_the_input() -> None:
    with pytest.raises(InputError, match="cannot be read") as caught, reading(Path("a")):
        raise PermissionError(13, "Permission denied")
    assert (caught.value.code, caught.value.path) == ("E-ACCESS", "a")
    with pytest.raises(InputError) as caught, reading():
        raise OSError(5, "Input/output error")
    assert caught.value.code == "E-READ"


def test_what_may_have_been_meant(tmp_path: Path) -> None:
    for name in ("adapter-final", "other"):
        (tmp_path / name).mkdir()
    assert f"did you mean {tmp_path / 'adapter-final'}?" in similar(tmp_path / "adapter-finale")
    assert similar(tmp_path / "none/x").endswith("check the path")
    assert similar(Path("a\\b")) == "write it with slashes: a/b"
