"""Adapters and models in several GGUF files: all of one split, whichever is named, or an error that says which is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import write, write_base

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import InputError
from adapterops.formats.models.model_files import holds_model, read_model


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """An adapter of eight tensors in three files: A and B of a module may be in two of them."""
    (tmp_path / "split").mkdir()
    write(tmp_path / "split/a.gguf", split_max_tensors=3)
    return sorted((tmp_path / "split").iterdir())


def numbers(path: Path) -> dict[str, np.ndarray]:
    adapter = ao.open_adapter(path)
    return {module: adapter.updates[module].dense() for module in adapter.layout}


def test_an_adapter_is_whole_by_the_name_of_any_part_and_of_the_folder(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = numbers(write(tmp_path / "whole.gguf"))
    for path in (*parts, parts[0].parent):
        found = numbers(path)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[module], expected[module]) for module in expected)
        assert not holds_model(path)
    assert ao.inspect(parts[0]).size == sum(path.stat().st_size for path in parts)
    base = str(write_base(tmp_path / "base"))
    assert run(["fuse", base, str(parts[1]), "-o", str(tmp_path / "fused")]) == 0
    assert run(["verify", str(tmp_path / "fused"), "--base", base, "--adapter", str(parts[1])]) == 0
    assert run(["convert", str(parts[0].parent), "--to", "gguf", "--base", base, "-o", str(tmp_path / "one.gguf")]) == 0
    assert run(["convert", str(parts[2]), "--to", "peft", "--base", base, "-o", str(tmp_path / "peft")]) == 0
    assert len(ao.open_adapter(tmp_path / "one.gguf").layout) == len(expected)
    assert run(["merge", str(parts[0]), str(parts[1]), "--base", base, "-o", str(tmp_path / "twice")]) == 0
    assert "are the same files, byte for byte" in capsys.readouterr().err


def test_the_first_part_may_have_no_tensors(tmp_path: Path) -> None:
    """As llama-gguf-split --no-tensor-first-split writes it."""
    write(tmp_path / "a.gguf", split_max_tensors=8, small_first_shard=True)
    first, second = sorted(tmp_path.iterdir())
    assert len(gguf.GGUFReader(first).tensors) == 0
    assert len(ao.open_adapter(first).layout) == 4
    assert not holds_model(first)
    assert not holds_model(second)


def test_what_is_in_a_number_that_is_not_finite_is_named_by_its_file(tmp_path: Path) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.1.ffn_up.weight.lora_a", np.full((4, 64), np.nan, np.float32))
        writer.add_tensor("blk.1.ffn_up.weight.lora_b", np.ones((112, 4), np.float32))

    write(tmp_path / "a.gguf", alter=more, split_max_tensors=8)
    first, second = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="NaN") as raised:
        ao.open_adapter(first).updates["model.layers.1.mlp.up_proj"].dense()
    assert raised.value.path == str(second)


def _missing(parts: list[Path]) -> Path:
    parts[1].unlink()
    return parts[0]


def _of_another(parts: list[Path]) -> Path:
    """The third of a split of other modules."""
    other = parts[0].parent.parent / "other"
    other.mkdir()
    write(other / "a.gguf", split_max_tensors=4, alter=lambda writer: None)
    shutil.copy(other / "a-00002-of-00002.gguf", parts[1])
    return parts[0]


def _swapped(parts: list[Path]) -> Path:
    aside = parts[0].with_name("aside")
    parts[1].rename(aside)
    parts[2].rename(parts[1])
    aside.rename(parts[2])
    return parts[2]


def _twice(parts: list[Path]) -> Path:
    """A part of the same number and count, with the tensors of another part."""
    file = parts[2].read_bytes()
    parts[1].write_bytes(file.replace(b"split.no\x02\x00\x00\x00\x02\x00", b"split.no\x02\x00\x00\x00\x01\x00"))
    return parts[0]


def _renamed(parts: list[Path]) -> Path:
    return parts[0].rename(parts[0].with_name("mine.gguf"))


def _past_the_end(parts: list[Path]) -> Path:
    return shutil.copy(parts[0], parts[0].with_name("a-00004-of-00003.gguf"))


def _cut(parts: list[Path]) -> Path:
    parts[2].write_bytes(parts[2].read_bytes()[:-40])
    return parts[0]


REFUSED = {
    _missing: ("a-00002-of-00003.gguf", "is missing, and a-00001-of-00003.gguf is one of 3 files"),
    _of_another: ("a-00002-of-00003.gguf", r"is part 2 of 3 by its name, and says split.no 1 and split.count 2"),
    _swapped: ("a-00002-of-00003.gguf", r"is part 2 of 3 by its name, and says split.no 2 and split.count 3"),
    _twice: ("a-00001-of-00003.gguf", r"all 3 parts have 8 tensors \(split.tensors.count\), and they have 7"),
    _renamed: ("mine.gguf", r"is one of 3 files \(split.count\), and its name does not say which"),
    _past_the_end: ("a-00004-of-00003.gguf", "is number 00004 of 3"),
    _cut: ("a-00003-of-00003.gguf", "is cut off"),
}


@pytest.mark.parametrize("broken", REFUSED)
def test_what_is_no_whole_split_is_refused(broken: object, parts: list[Path]) -> None:
    name, said = REFUSED[broken]
    with pytest.raises(InputError, match=said) as raised:
        ao.open_adapter(broken(parts))
    assert Path(raised.value.path).name == name
    assert raised.value.hint


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (lambda w: w.add_string("split.count", "3"), "says '3' for split.count, expected a whole number"),
        (lambda w: w.add_uint16("split.count", 65535), "is one of 65535 files"),
    ],
)
def test_fields_that_say_nonsense(field: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        ao.open_adapter(write(tmp_path / "a.gguf", alter=field))


def test_a_model_whose_parts_are_not_of_one_split(tmp_path: Path) -> None:
    """The same check, of the files of a model."""
    for name, count in (("a", 4), ("b", 5)):
        writer = gguf.GGUFWriter(str(tmp_path / f"{name}.gguf"), "qwen2", split_max_tensors=count)
        for number in range(8):
            writer.add_tensor(f"blk.{number}.ffn_up.weight", np.zeros((8, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    assert len(read_model(tmp_path / "a-00001-of-00002.gguf").shards) == 2
    shutil.copy(tmp_path / "b-00002-of-00002.gguf", tmp_path / "a-00002-of-00002.gguf")
    with pytest.raises(InputError, match="all 2 parts have 8 tensors"):
        read_model(tmp_path / "a-00001-of-00002.gguf")
