"""Files that are not what they should be:
each is refused with its name, a reason and a remedy, and nothing is written.
"""

import json
import os
import pickle
import resource
import socket
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from corpus import MODULES, PREFIX, A, B, config, entry, factors, file_bytes, good_header, write_adapter, write_raw
from safetensors.torch import save_file

from adapterops.cli.main import run
from adapterops.storage.header import HEADER_LIMIT
from adapterops.storage.safetensors import SafetensorsFile

DATA = bytes(20)


@pytest.fixture
def refused_file(refused, tmp_path):
    """Refuses a folder whose tensors' file has this content."""

    def check(content, exit_code, code, *phrases, tensor=None, fields=None):
        folder = write_raw(tmp_path / "bad", content, fields)
        return refused(
            ["truncate", folder, "--rank", "1"],
            exit_code,
            code,
            folder / "adapter_model.safetensors",
            *phrases,
            tensor=tensor,
        )

    return check


def limited(arguments, seconds, megabytes=1000):
    """A command in a process of its own, which may take so much time and memory."""
    begin = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", "adapterops", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20)),
    )
    assert time.monotonic() - begin < seconds
    assert "Traceback" not in child.stderr
    return child


def test_missing_path_suggests_similar_names(refused, tmp_path):
    write_adapter(tmp_path / "adapter-one")
    refused(
        ["truncate", tmp_path / "adapter-on", "--rank", "1"],
        5,
        "E-NOT-FOUND",
        tmp_path / "adapter-on",
        "did you mean",
        "adapter-one",
    )


def test_folder_without_an_adapter_lists_what_is_there(refused, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").touch()
    refused(["truncate", folder, "--rank", "1"], 3, "E-FOLDER", folder, "has no adapter_model.safetensors", "notes.txt")


def test_folder_with_several_adapters_lists_them(refused, tmp_path):
    for name in ("first", "second"):
        write_adapter(tmp_path / "folder" / name)
    refused(["truncate", tmp_path / "folder", "--rank", "1"], 3, "E-FOLDER", tmp_path / "folder", "first, second")


FOREIGN = {
    "empty": (b"", "E-ST-EMPTY", "is empty"),
    "seven bytes": (bytes(range(1, 8)), "E-ST-HEADER", "not a safetensors file"),
    "git-lfs pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "E-ST-FOREIGN",
        "a Git-LFS pointer",
        "git lfs pull",
    ),
    "error page in HTML": (b"<!DOCTYPE html><html>404</html>", "E-ST-FOREIGN", "HTML", "download the file again"),
    "error page in JSON": (b'{"error": "Repository not found"}', "E-ST-FOREIGN", "JSON", "has to be downloaded again"),
    "pickle": (pickle.dumps({"weight": 1}), "E-ST-FOREIGN", "pickle"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(64), "E-ST-FOREIGN", "GGUF"),
    "header of 2^64 - 1 bytes": (
        file_bytes(good_header(), DATA, 2**64 - 1),
        "E-ST-TRUNCATED",
        "18446744073709551615 bytes",
    ),
    "header above every limit": (file_bytes(good_header(), DATA, 100_000_001), "E-ST-TRUNCATED", "100000001 bytes"),
    "header longer than the file": (file_bytes(good_header(), b"", 1000), "E-ST-TRUNCATED", "truncated"),
    "header of no bytes": (file_bytes(b"", DATA), "E-ST-HEADER", "not a safetensors file"),
    "header that is not UTF-8": (file_bytes(b'{"\xff": 1}'), "E-ST-HEADER", "UTF-8"),
    "header that is not JSON": (file_bytes(b'{"x": '), "E-ST-HEADER", "not JSON"),
    "header that is a list": (file_bytes([1, 2]), "E-ST-HEADER", "no JSON header"),
    "header that is null": (file_bytes(b"null"), "E-ST-HEADER", "no JSON header"),
    "no tensors": (file_bytes({}), "E-ST-EMPTY", "no tensors"),
    "nothing but metadata": (file_bytes({"__metadata__": {"format": "pt"}}), "E-ST-EMPTY", "no tensors"),
    "data cut off": (
        file_bytes(good_header(), DATA[:13]),
        "E-ST-TRUNCATED",
        "expected 20 bytes of tensors, found 13",
        "download it again",
    ),
    "bytes after the data": (
        file_bytes(good_header(), DATA + b"PK\x03\x04"),
        "E-ST-TRAILING",
        "4 bytes after its last tensor",
    ),
    "metadata twice": (
        file_bytes(b'{"__metadata__": {}, "__metadata__": {}}'),
        "E-ST-HEADER",
        "'__metadata__' appears twice",
    ),
    "metadata that is a number": (
        file_bytes(good_header(__metadata__={"step": 3}), DATA),
        "E-ST-HEADER",
        "strings to strings",
    ),
    "metadata that is a string": (
        file_bytes(good_header(__metadata__="pt"), DATA),
        "E-ST-HEADER",
        "strings to strings",
    ),
}


@pytest.mark.parametrize(
    ("content", "code", "phrases"), [(case[0], case[1], case[2:]) for case in FOREIGN.values()], ids=FOREIGN
)
def test_not_a_safetensors_file(refused_file, content, code, phrases):
    refused_file(content, 3, code, *phrases)


def test_zip_archive_named_safetensors(refused_file, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.pkl", "x")
    refused_file((tmp_path / "a.zip").read_bytes(), 3, "E-ST-FOREIGN", "a zip archive")


TENSORS = {
    "hole before it": ({A: entry([1, 2], 0, 8), B: entry([3, 1], 12, 24)}, "E-ST-OFFSET", "hole", B),
    "overlap": ({A: entry([1, 2], 0, 8), B: entry([3, 1], 4, 16)}, "E-ST-OFFSET", "overlaps", B),
    "same range as another": ({A: entry([1, 2], 0, 8), B: entry([2, 1], 0, 8)}, "E-ST-OFFSET", "overlaps", B),
    "end before begin": (good_header(**{A: entry([1, 2], 8, 0)}), "E-ST-OFFSET", "impossible offsets", A),
    "negative offset": (good_header(**{A: entry([1, 2], -8, 0)}), "E-ST-OFFSET", "impossible offsets", A),
    "offset with a fraction": (good_header(**{A: entry([1, 2], 0, 8.0)}), "E-ST-OFFSET", "impossible offsets", A),
    "offset that is true": (good_header(**{A: entry([1, 2], False, 8)}), "E-ST-OFFSET", "impossible offsets", A),
    "three offsets": (
        good_header(**{A: {**entry([1, 2], 0, 8), "data_offsets": [0, 4, 8]}}),
        "E-ST-OFFSET",
        "impossible offsets",
        A,
    ),
    "shape that does not fit its bytes": (
        good_header(**{A: entry([1, 3], 0, 8)}),
        "E-ST-SHAPE",
        "takes 12 bytes, found 8",
        A,
    ),
    "shape of 2^65 bytes": (good_header(**{A: entry([2**63, 4], 0, 8)}), "E-ST-SHAPE", "impossible shape", A),
    "shape of 2^64 entries": (good_header(**{A: entry([2**32, 2**32], 0, 8)}), "E-ST-SHAPE", "impossible shape", A),
    "empty shape with huge sides": (
        good_header(**{A: entry([0, 2**63, 2**63], 0, 0)}),
        "E-ST-SHAPE",
        "impossible shape",
        A,
    ),
    "empty shape with large sides": (
        good_header(**{A: entry([0, 2**62, 2**62], 0, 0)}),
        "E-ST-SHAPE",
        "impossible shape",
        A,
    ),
    "negative shape": (good_header(**{A: entry([-1, -2], 0, 8)}), "E-ST-SHAPE", "impossible shape", A),
    "too many dimensions": (good_header(**{A: entry([1] * 8 + [2], 0, 8)}), "E-ST-SHAPE", "impossible shape", A),
    "unknown dtype": (good_header(**{A: entry([1, 2], 0, 8, "F31")}), "E-ST-DTYPE", "unsupported dtype 'F31'", A),
    "dtype that is a number": (good_header(**{A: entry([1, 2], 0, 8, 32)}), "E-ST-DTYPE", "unsupported dtype 32", A),
    "half a byte": (good_header(**{A: entry([1, 3], 0, 1, "F4")}), "E-ST-SHAPE", "takes 1.5 bytes", A),
    "no dtype": (
        good_header(**{A: {"shape": [1, 2], "data_offsets": [0, 8]}}),
        "E-ST-HEADER",
        "exactly dtype, shape",
        A,
    ),
    "unknown field": (
        good_header(**{A: {**entry([1, 2], 0, 8), "strides": [1]}}),
        "E-ST-HEADER",
        "exactly dtype, shape",
        A,
    ),
    "entry that is a list": (good_header(**{A: []}), "E-ST-HEADER", "exactly dtype, shape", A),
}


@pytest.mark.parametrize(("header", "code", "phrase", "tensor"), TENSORS.values(), ids=TENSORS)
def test_tensor_that_cannot_be(refused_file, header, code, phrase, tensor):
    refused_file(file_bytes(header, DATA), 3, code, phrase, tensor=tensor)


def test_tensor_that_is_there_twice(refused_file):
    fields = json.dumps(entry([1, 2], 0, 8))
    text = f'{{"{A}": {fields}, "{A}": {fields}, "{B}": {json.dumps(entry([3, 1], 8, 20))}}}'.encode()
    refused_file(file_bytes(text, DATA), 3, "E-ST-HEADER", f"the key '{A}' appears twice")


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/x", "a\0b", "a\nb", "", "x" * 10_000, "..\\x", "\x1b[31mred"],
    ids=lambda name: repr(name)[:20],
)
def test_unsafe_tensor_name(refused_file, name):
    refused_file(file_bytes(good_header(**{name: entry([1], 20, 24)}), DATA + bytes(4)), 3, "E-ST-NAME", "is unsafe")


def test_more_tensors_than_any_adapter_has(refused_file):
    fields = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = "{" + ",".join(f'"{number}":{fields}' for number in range(200_001)) + "}"
    refused_file(file_bytes(text.encode()), 3, "E-ST-HEADER", "200001 tensors, above the limit")


@pytest.mark.parametrize("dtype", ["F8_E8M0", "C64", "U64", "I8", "F4"])
def test_dtype_without_arithmetic(refused_file, dtype):
    bits = {"F8_E8M0": 8, "C64": 64, "U64": 64, "I8": 8, "F4": 4}[dtype]
    header = {A: entry([1, 2], 0, 2 * bits // 8, dtype), B: entry([2, 1], 2 * bits // 8, 4 * bits // 8, dtype)}
    refused_file(file_bytes(header, bytes(4 * bits // 8)), 4, "E-UNSUPPORTED", dtype, "convert it", tensor=A)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite(refused, tmp_path, value):
    tensors = factors()
    tensors[B][3, 1] = value
    folder = write_adapter(tmp_path / "bad", tensors)
    path = folder / "adapter_model.safetensors"
    for command in (["truncate", folder, "--rank", "1"], ["merge", folder], ["show", folder, "--spectrum"]):
        refused(
            command, 3, "E-NONFINITE", path, "numbers that are NaN or infinite: 1 of ", "--allow-nonfinite", tensor=B
        )


def test_numbers_that_are_not_finite_where_they_are_allowed(tmp_path, capsys):
    tensors = factors()
    tensors[B][3, 1] = float("nan")
    folder = write_adapter(tmp_path / "bad", tensors)
    assert run(["merge", str(folder), "--allow-nonfinite", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    strict = {"parse_constant": lambda name: pytest.fail(f"{name} in the manifest")}
    json.loads((tmp_path / "out" / "adapterops.json").read_text(), **strict)


def test_boolean_that_is_seven(refused_file):
    alpha = f"{PREFIX}layers.0.q_proj.alpha"
    refused_file(
        file_bytes(good_header(**{alpha: entry([], 20, 21, "BOOL")}), DATA + b"\x07"),
        3,
        "E-ST-VALUE",
        "neither 0 nor 1",
        tensor=alpha,
    )


def test_header_of_90_megabytes_is_refused_before_it_is_read(tmp_path):
    fields = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = "{" + ",".join(f'"tensor.{number:012}":{fields}' for number in range(1_300_000)) + "}"
    assert len(text) > 90e6 > HEADER_LIMIT
    folder = write_raw(tmp_path / "bad", file_bytes(text.encode()))
    child = limited(["show", folder], 5, 200)
    assert child.returncode == 3
    assert f"{len(text)} bytes, above the limit" in child.stderr


def test_header_nested_100_000_deep(tmp_path):
    folder = write_raw(tmp_path / "bad", file_bytes(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
    child = limited(["show", folder], 5)
    assert child.returncode == 3
    assert "nested too deep" in child.stderr


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
@pytest.mark.parametrize("place", ["adapter_model.safetensors", "adapter_config.json"])
def test_not_a_regular_file(tmp_path, monkeypatch, kind, place):
    folder = write_adapter(tmp_path / "bad")
    (folder / place).unlink()
    if kind == "pipe":
        os.mkfifo(folder / place)
    elif kind == "device":
        (folder / place).symlink_to("/dev/zero")
    elif kind == "folder":
        (folder / place).mkdir()
    else:
        monkeypatch.chdir(folder)  # the address of a socket is short
        socket.socket(socket.AF_UNIX).bind(place)
    child = limited(["show", folder], 5)
    assert child.returncode == 3
    fact = "is a folder, not a file" if kind == "folder" else "is not a regular file"
    assert f"{folder / place}: {fact}" in child.stderr


@pytest.mark.parametrize("place", ["adapter_model.safetensors", "adapter_config.json"])
def test_link_to_nothing_and_link_to_itself(refused, tmp_path, place):
    folder = write_adapter(tmp_path / "bad")
    (folder / place).unlink()
    (folder / place).symlink_to("nowhere")
    refused(
        ["truncate", folder, "--rank", "1"], 5, "E-NOT-FOUND", folder / place, "a link to a file that does not exist"
    )
    (folder / place).unlink()
    (folder / place).symlink_to(place)
    refused(["truncate", folder, "--rank", "1"], 3, "E-NOT-A-FILE", folder / place, "symbolic links")


def test_link_to_itself_in_place_of_the_folder(refused, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for command in (["truncate", tmp_path / "loop", "--rank", "1"], ["fuse", tmp_path / "loop", tmp_path / "a"]):
        refused(command, 3, "E-NOT-A-FILE", tmp_path / "loop", "symbolic links")


def test_file_that_may_not_be_read(refused, tmp_path, monkeypatch):
    path = write_adapter(tmp_path / "bad") / "adapter_model.safetensors"
    path.chmod(0o000)
    if os.geteuid() == 0:  # whom no mode stops
        open_ = os.open

        def denied(place, *arguments, **options):
            if place == path:
                raise PermissionError(13, "Permission denied", str(path))
            return open_(place, *arguments, **options)

        monkeypatch.setattr(os, "open", denied)
    refused(
        ["truncate", tmp_path / "bad", "--rank", "1"],
        3,
        "E-ACCESS",
        path,
        "may not be read",
        "mode ----------",
        "owner or mode",
    )


def test_file_that_shrinks_while_it_is_read(tmp_path):
    path = write_adapter(tmp_path / "bad") / "adapter_model.safetensors"
    script = """
import os, sys
import adapterops.adapters.opening
finite = adapterops.adapters.opening._finite
def shrinking(tensor, *rest):
    os.truncate(tensor.file.path, tensor.file.identity.size - 400)
    return finite(tensor, *rest)
adapterops.adapters.opening._finite = shrinking
from adapterops.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
    child = subprocess.run(
        [sys.executable, "-c", script, "merge", path.parent, "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 3
    assert "Traceback" not in child.stderr
    assert str(path) in child.stderr
    assert "shrank while it was read" in child.stderr or "changed while it was read" in child.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad"]


def test_file_that_is_replaced_in_place_while_it_is_read(tmp_path):
    path = write_adapter(tmp_path / "bad") / "adapter_model.safetensors"
    file = SafetensorsFile(path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(Exception, match="changed while it was read"):
        file.read(A)


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


PICKLES = {
    "benign": lambda path, marker: torch.save(factors(), path),
    "malicious": lambda path, marker: path.write_bytes(pickle.dumps(Marker(marker))),
    "of 4 GB when it is loaded": lambda path, marker: torch.save(torch.zeros(1).expand(10**9), path),
}


@pytest.mark.parametrize("save", PICKLES.values(), ids=PICKLES)
def test_pickle_is_never_loaded(refused, tmp_path, save):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config()))
    path = folder / "adapter_model.bin"
    save(path, tmp_path / "marker")
    for source in (folder, path):
        refused(["truncate", source, "--rank", "1"], 3, "E-PICKLE", path, "Python pickle", "--allow-pickle")
    assert not (tmp_path / "marker").exists()


def test_config_is_missing(refused, tmp_path):
    lone = tmp_path / "lone.safetensors"
    save_file(factors(), lone)
    refused(["truncate", lone, "--rank", "1"], 3, "E-ALPHA", lone, "does not state its scale", "--alpha")
    folder = write_adapter(tmp_path / "bad")
    (folder / "adapter_config.json").unlink()
    refused(["truncate", folder, "--rank", "1"], 3, "E-ALPHA", folder, "no adapter_config.json", "--alpha")
    assert run(["truncate", str(lone), "--rank", "1", "--alpha", "8", "-o", str(tmp_path / "out")]) == 0


def test_factor_without_its_partner(refused, tmp_path):
    for missing, kept in ((B, "lora_A"), (A, "lora_B")):
        tensors = factors()
        del tensors[missing]
        folder = write_adapter(tmp_path / kept, tensors)
        path = folder / "adapter_model.safetensors"
        role = "lora_B" if kept == "lora_A" else "lora_A"
        refused(["truncate", folder, "--rank", "1"], 3, "E-KEY", path, f"has {kept} but no {role}", tensor=MODULES[0])


def test_factors_of_different_ranks(refused, tmp_path):
    folder = write_adapter(tmp_path / "bad", {**factors(), A: torch.ones(3, 8)})
    path = folder / "adapter_model.safetensors"
    refused(
        ["truncate", folder, "--rank", "1"],
        3,
        "E-SHAPE",
        path,
        "lora_A has rank 3 and lora_B has rank 2",
        tensor=MODULES[0],
    )


@pytest.mark.parametrize("shape", [(0, 8), (8,), ()])
def test_factor_of_an_impossible_shape(refused, tmp_path, shape):
    folder = write_adapter(tmp_path / "bad", {**factors(), A: torch.ones(shape)})
    refused(
        ["truncate", folder, "--rank", "1"],
        3,
        "E-SHAPE",
        folder / "adapter_model.safetensors",
        "shape",
        tensor=MODULES[0],
    )
