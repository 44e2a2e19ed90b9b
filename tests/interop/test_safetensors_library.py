"""What the safetensors library accepts and our reader refuses: each line of docs/decisions/reading.md, as seen.

A newer safetensors that fails here has become stricter, or reads more: correct the page, then this file.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError, safe_open

from adapterops.errors import InputError
from adapterops.storage.safetensors import SafetensorsFile

X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TWO = json.dumps(X)
AS_INT = json.dumps(X | {"dtype": "I32", "shape": [1, 2]})

ACCEPTED = {
    "a tensor twice": (f'{{"x": {TWO}, "x": {TWO}}}', 8),
    "a tensor twice, with two dtypes": (f'{{"x": {TWO}, "x": {AS_INT}}}', 8),
    "a key of the metadata twice": (f'{{"__metadata__": {{"a": "1", "a": "2"}}, "x": {TWO}}}', 8),
    "a name that is a path upwards": (f'{{"../../x": {TWO}}}', 8),
    "a name that is an absolute path": (f'{{"/x": {TWO}}}', 8),
    "no name": (f'{{"": {TWO}}}', 8),
    "a name with NUL": (f'{{"x\\u0000": {TWO}}}', 8),
    "a name that clears a terminal": (f'{{"x\\u001b[2J": {TWO}}}', 8),
    "a name of 10 kB": (f'{{"{"x" * 10_000}": {TWO}}}', 8),
    "an unknown field": (f'{{"x": {json.dumps(X | {"more": 1})}}}', 8),
    "a header after spaces": (f'  {{"x": {TWO}}}', 8),
    "no tensors": ("{}", 0),
    "a rank of 2000": (json.dumps({"x": {"dtype": "F32", "shape": [1] * 2000, "data_offsets": [0, 4]}}), 4),
    "a shape that overflows": (
        json.dumps({"x": {"dtype": "F32", "shape": [0, 2**63, 2**63], "data_offsets": [0, 0]}}),
        0,
    ),
}


def write(path: Path, header: str, data: bytes) -> Path:
    text = header.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(("header", "size"), ACCEPTED.values(), ids=ACCEPTED)
def test_headers_that_are_accepted_there_and_refused_here(tmp_path: Path, header: str, size: int) -> None:
    path = write(tmp_path / "x.safetensors", header, bytes(size))
    with safe_open(path, framework="numpy") as file:
        assert all(file.get_slice(name).get_dtype() for name in file.keys())  # noqa: SIM118  # it is no mapping
    with pytest.raises(InputError, match=r"x\.safetensors"):
        SafetensorsFile(path)


def test_metadata_that_are_null_are_none(tmp_path: Path) -> None:
    """As MLX writes them."""
    path = write(tmp_path / "x.safetensors", f'{{"__metadata__": null, "x": {TWO}}}', bytes(8))
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() is None
    assert SafetensorsFile(path).metadata == {}


def test_of_two_tensors_of_one_name_the_last_is_read(tmp_path: Path) -> None:
    header, size = ACCEPTED["a tensor twice, with two dtypes"]
    with safe_open(write(tmp_path / "x.safetensors", header, bytes(size)), framework="numpy") as file:
        assert file.get_slice("x").get_dtype() == "I32"


@pytest.mark.parametrize("shape", [[1] * 2000, [0, 2**63, 2**63]], ids=["rank", "overflow"])
def test_impossible_shapes_fail_there_with_an_error_of_numpy(tmp_path: Path, shape: list[int]) -> None:
    size = 4 if shape[0] else 0
    header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}})
    path = write(tmp_path / "x.safetensors", header, bytes(size))
    with safe_open(path, framework="numpy") as file, pytest.raises(ValueError, match="dimension"):
        file.get_tensor("x")


def test_booleans_that_are_neither_0_nor_1(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}})
    path = write(tmp_path / "x.safetensors", header, b"\x07\x02")
    with safe_open(path, framework="numpy") as file:
        assert file.get_tensor("x").tolist() == [True, True]
    with pytest.raises(InputError, match="neither 0 nor 1"):
        SafetensorsFile(path).read("x")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_dtypes_that_numpy_has_not(tmp_path: Path, dtype: str) -> None:
    path = write(
        tmp_path / "x.safetensors",
        json.dumps({"x": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2]}}),
        b"\x38\x38",
    )
    with safe_open(path, framework="numpy") as file, pytest.raises((AttributeError, TypeError)):
        file.get_tensor("x")
    assert SafetensorsFile(path).read("x") == b"\x38\x38"


def test_bfloat16_is_not_read_into_numpy(tmp_path: Path) -> None:
    """In a process of its own: where ml_dtypes is imported, numpy has heard of it."""
    path = write(
        tmp_path / "x.safetensors",
        json.dumps({"x": X | {"dtype": "BF16", "data_offsets": [0, 4]}}),
        b"\x80\x3f\x00\x40",
    )
    code = f"from safetensors import safe_open; safe_open({str(path)!r}, framework='numpy').get_tensor('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "'bfloat16' not understood" in done.stderr
    assert SafetensorsFile(path).array("x").tolist() == [0x3F80, 0x4000]


def test_a_pipe_blocks_there_and_is_refused_here_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    code = "from safetensors import safe_open; print('open', flush=True); safe_open('x.safetensors', framework='numpy')"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "open\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.kill()
    process.communicate()
    begin = time.perf_counter()
    with pytest.raises(InputError, match="not a regular file"):
        SafetensorsFile(tmp_path / "x.safetensors")
    assert time.perf_counter() - begin < 1


def test_a_file_that_shrinks_kills_there_and_is_an_error_here(tmp_path: Path) -> None:
    size = 1 << 20
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    path = write(tmp_path / "x.safetensors", header, bytes(size))
    code = """if True:
        import os
        from safetensors import safe_open
        file = safe_open("x.safetensors", framework="numpy")
        os.truncate("x.safetensors", 4096)
        file.get_tensor("x").sum()
    """
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == -signal.SIGBUS
    path = write(path, header, bytes(size))
    file = SafetensorsFile(path)
    os.truncate(path, 4096)
    with pytest.raises(InputError, match="shrank"):
        file.read("x")


@pytest.mark.parametrize(
    ("content", "here"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git-LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "HTML or XML"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
        (b"\x80\x02" + bytes(60), "a Python pickle"),
        (b"GGUF" + bytes(60), "a GGUF file"),
    ],
    ids=["lfs", "html", "zip", "pickle", "gguf"],
)
def test_what_is_no_safetensors_file_is_named_here(tmp_path: Path, content: bytes, here: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(SafetensorError, match=r"header too large|invalid header length"):
        safe_open(tmp_path / "x.safetensors", framework="numpy")
    with pytest.raises(InputError, match=here):
        SafetensorsFile(tmp_path / "x.safetensors")
