"""What is written is opened with the safetensors library before anybody gets it;
what is wrong in it leaves no output.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import tree, write_adapter
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.arrays.dtypes import BITS
from adapterops.errors import AdapterOpsError
from adapterops.storage import writer
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import SafetensorsWriter, check_written, write_safetensors

Header = dict[str, Any]


def first(header: Header) -> str:
    return next(name for name in header if name != "__metadata__")


def other_dtype(header: Header) -> Header:
    swap = {"F32": "I32", "BF16": "F16", "F16": "BF16", "I64": "U64"}
    return header | {first(header): header[first(header)] | {"dtype": swap[header[first(header)]["dtype"]]}}


def other_shape(header: Header) -> Header:
    return header | {first(header): header[first(header)] | {"shape": [1, *header[first(header)]["shape"]]}}


def other_name(header: Header) -> Header:
    return {"other" if name == first(header) else name: value for name, value in header.items()}


def other_metadata(header: Header) -> Header:
    return header | {"__metadata__": {"format": "pt", "more": "1"}}


def offsets_with_a_hole(header: Header) -> Header:
    begin, end = header[first(header)]["data_offsets"]
    return header | {first(header): header[first(header)] | {"data_offsets": [begin + 2, end]}}


def wrong(monkeypatch: pytest.MonkeyPatch, change: Callable[[Header], Header]) -> None:
    """From now on headers are written wrong."""
    real = writer.header_text

    def changed(layout: dict[str, Spec], metadata: dict[str, str], length: int) -> bytes:
        right = real(layout, metadata, length)
        text = json.dumps(change(json.loads(right)), separators=(",", ":")).encode()
        return text.ljust(max(len(right), -(-len(text) // 8) * 8) if length == 0 else length)

    monkeypatch.setattr(writer, "header_text", changed)


MISTAKES = {
    other_dtype: r"was written as \w+ \[.*, expected \w+ \[",
    other_shape: r"was written as \w+ \[1, .*, expected",
    other_name: "was planned and is missing|other: was not planned",
    other_metadata: "was written with the metadata",
    offsets_with_a_hole: "the safetensors library refuses the file that was written: .*invalid",
}


@pytest.mark.parametrize("change", MISTAKES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", ["adapter", "checkpoint"])
def test_a_wrong_header_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, change: Callable[[Header], Header]
) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    before = tree(tmp_path)
    wrong(monkeypatch, change)
    adapter = ao.open_adapter(tmp_path / "a")
    smaller, fused = ao.truncate(adapter, 1), ao.fuse(ao.open_checkpoint(tmp_path / "base"), adapter)
    with pytest.raises(AdapterOpsError, match=MISTAKES[change]) as caught:
        _ = (
            ao.save_adapter(smaller, tmp_path / "out")
            if kind == "adapter"
            else ao.save_checkpoint(fused, tmp_path / "out")
        )
    assert caught.value.exit_code == 1
    assert str(caught.value).partition(":")[0].endswith(".safetensors")
    assert caught.value.tensor or change in (other_metadata, offsets_with_a_hole)
    assert tree(tmp_path) == before


def test_every_dtype_and_shape_is_accepted(tmp_path: Path) -> None:
    layout = {f"{dtype}.{len(shape)}": Spec(dtype, shape) for dtype in BITS for shape in ((2, 4), (0, 3), (2,))}
    layout["scalar"] = Spec("F32", ())
    new = SafetensorsWriter(tmp_path / "x.safetensors", layout, {"format": "pt", "a": "ü"})
    new.check()
    new.close()
    assert {name: entry.spec for name, entry in SafetensorsFile(tmp_path / "x.safetensors").entries.items()} == layout


def test_tensors_that_did_not_come_are_not_expected(tmp_path: Path) -> None:
    layout = {"x": Spec("F32", (4, 3)), "y": Spec("F32", (4, 3))}
    write_safetensors(tmp_path / "x.safetensors", layout, [("x", np.ones((2, 3), np.float32))], {})
    check_written(tmp_path / "x.safetensors", {"x": Spec("F32", (2, 3))}, {})
    with pytest.raises(AdapterOpsError, match="y: was planned and is missing"):
        check_written(tmp_path / "x.safetensors", {"x": Spec("F32", (2, 3)), "y": Spec("F32", (1,))}, {})


def test_the_data_is_not_read(tmp_path: Path) -> None:
    """Of a file of a gigabyte, nearly all of it a hole, next to nothing comes into memory."""
    size = 1 << 30
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with open(tmp_path / "x.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    code = r"""if True:
        import re, sys
        from pathlib import Path
        from adapterops.storage.tensors import Spec
        from adapterops.storage.writer import check_written
        check_written(Path("x.safetensors"), {"x": Spec("U8", (1 << 30,))}, {})
        assert "torch" not in sys.modules
        print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000


def test_the_command_says_whose_mistake_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from adapterops.cli.main import run

    write_adapter(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    wrong(monkeypatch, other_shape)
    assert run(["truncate", "a", "--rank", "1", "-o", "out"]) == 1
    said = capsys.readouterr().err
    assert "adapter_model.safetensors: " in said
    assert "this is a bug in adapterops" in said
    assert not (tmp_path / "out").exists()


def test_a_long_file_is_given_to_the_disk_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time with all that is written by then: the disk works meanwhile, and has little left to do at the end."""
    monkeypatch.setattr(writer, "SYNCED", 4096)
    layout = {f"t{number}": Spec("F32", (1024,)) for number in range(4)}
    tensors = ((name, np.ones(1024, np.float32)) for name in layout)
    there: list[int] = []
    one = struct.pack("<f", 1.0)
    write_safetensors(
        tmp_path / "x.safetensors",
        layout,
        tensors,
        {},
        sync=lambda descriptor: there.append(os.pread(descriptor, 1 << 20, 0).count(one)),
    )
    assert there == [1024, 2048, 3072, 4096, 4096]


def test_a_file_is_hashed_as_it_is_written_where_its_header_is_known(tmp_path: Path) -> None:
    """One that turns out smaller, or whose header is made of its tensors, begins otherwise than it was to."""
    layout, large = {"a": Spec("F32", (3, 4)), "b": Spec("I8", (0,))}, np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = [("a", large), ("b", np.zeros(0, np.int8))]
    hashed = write_safetensors(tmp_path / "whole", layout, tensors, {"format": "pt"}, room=40)
    assert hashed == file_digests(tmp_path / "whole", BLAKE3)[BLAKE3]
    assert (
        write_safetensors(tmp_path / "turned", layout, [("a", large.T.copy().T), tensors[1]], {})
        == (file_digests(tmp_path / "turned", BLAKE3)[BLAKE3])
    )
    assert write_safetensors(tmp_path / "smaller", layout, [("a", large[:2]), tensors[1]], {}) is None
    assert write_safetensors(tmp_path / "later", layout, tensors, lambda _: {"format": "pt"}, room=100) is None


def test_tensors_may_come_in_another_order(tmp_path: Path) -> None:
    """The positions in the header have more digits then, where large tensors come first."""
    layout = {"small": Spec("F32", (1,)), "smaller": Spec("F32", (1,)), "large": Spec("F32", (1000,))}
    tensors = [(name, np.ones(spec.shape, np.float32)) for name, spec in layout.items()]
    assert write_safetensors(tmp_path / "as planned", layout, tensors, {})
    assert write_safetensors(tmp_path / "turned", layout, tensors[::-1], {}) is None
