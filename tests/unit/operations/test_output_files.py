"""The files of an output: each that the manifest names, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.operations.output_files import Problem, differs, files_of, read_manifest, sums


@pytest.fixture
def out(tmp_path: Path) -> Path:
    base = ao.open_checkpoint(write_base(tmp_path / "base"))
    ao.save_checkpoint(ao.fuse(base, ao.open_adapter(write_tuned(tmp_path / "a"))), tmp_path / "out")
    return tmp_path / "out"


def problems(out: Path) -> list[str]:
    model, base = ao.open_checkpoint(out), ao.open_checkpoint(out.parent / "base")
    found = [each.place for _, each in files_of(model, base) if each]
    return found + [each.place for path, stated in sums(model).items() for each in differs(path, stated)]


def test_an_output_is_as_its_manifest_says(out: Path) -> None:
    assert not problems(out)
    assert {path.name for path in sums(ao.open_checkpoint(out))} >= {"config.json", "tokenizer.json"}


def test_what_was_changed_added_or_removed_is_named(out: Path) -> None:
    (out / "tokenizer.json").write_text("{}")
    (out / "adapter_config.json").write_text("{}")
    (out / "README.md").write_text("a card says what it likes")
    assert sorted(problems(out)) == ["adapter_config.json", "tokenizer.json"]
    (out / "tokenizer.json").unlink()
    assert sorted(problems(out)) == ["adapter_config.json", "tokenizer.json"]


def test_without_a_manifest_there_may_be_no_other_weights(out: Path) -> None:
    (out / "adapterops.json").unlink()
    assert read_manifest(out) is None
    assert not problems(out)
    (out / "other.safetensors").write_bytes(b"")
    assert problems(out) == ["other.safetensors"]


def test_a_damaged_manifest_is_a_problem(out: Path) -> None:
    (out / "adapterops.json").write_text("{")
    assert isinstance(read_manifest(out), Problem)
    assert "adapterops.json" in problems(out)
