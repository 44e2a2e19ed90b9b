"""Where an output may go, and what may be replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapterops.errors import NotFoundError, OptionError, OutputExistsError
from adapterops.provenance.manifest import described
from adapterops.storage import outputs
from adapterops.storage.outputs import CARD, MANIFEST, MARK, check_output, check_replaceable


def output(folder: Path, *files: str) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    (folder / MANIFEST).write_text(json.dumps({"outputs": {name: described(folder / name) for name in files}}))
    return folder


def test_what_adapterops_wrote_is_replaced(tmp_path: Path) -> None:
    out = output(tmp_path / "out", "a.safetensors")
    (out / CARD).write_text(MARK)
    check_output(out, [], force=True)
    with pytest.raises(OutputExistsError, match="already exists"):
        check_output(out, [], force=False)


@pytest.mark.parametrize("added", ["notes.txt", CARD])
def test_what_somebody_added_is_not(tmp_path: Path, added: str) -> None:
    out = output(tmp_path / "out", "a.safetensors")
    (out / added).write_text("mine")
    with pytest.raises(OutputExistsError, match=f"did not write: {added}"):
        check_replaceable(out)


@pytest.mark.parametrize("content", ["of another size", "theirs"])
def test_what_a_manifest_names_and_does_not_describe_is_not(tmp_path: Path, content: str) -> None:
    out = output(tmp_path / "out")
    (out / "thesis.txt").write_text("mine: ")
    (out / MANIFEST).write_text(json.dumps({"outputs": {"thesis.txt": described(out / "thesis.txt")}}))
    check_replaceable(out)
    (out / "thesis.txt").write_text(content)
    with pytest.raises(OutputExistsError, match=r"not as adapterops wrote them: thesis\.txt"):
        check_replaceable(out)


def test_a_large_file_is_known_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "HASHED", 3)
    out = output(tmp_path / "out", "a.safetensors")
    stated = {"size": 4, "blake3": "0" * 64}
    (out / "a.safetensors").write_bytes(b"1234")
    (out / MANIFEST).write_text(json.dumps({"outputs": {"a.safetensors": stated}}))
    check_replaceable(out)
    (out / "a.safetensors").write_bytes(b"12345")
    with pytest.raises(OutputExistsError, match=r"not as adapterops wrote them: a\.safetensors"):
        check_replaceable(out)


def test_what_another_run_puts_there_meanwhile_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = output(tmp_path / "out", "a.safetensors"), output(tmp_path / "other", "b.safetensors")
    read, waiting = outputs._outputs, [other]

    def reading(manifest: Path) -> dict[str, Any] | None:
        found = read(manifest)
        while waiting:
            out.rename(tmp_path / "gone")
            waiting.pop().rename(out)
        return found

    monkeypatch.setattr(outputs, "_outputs", reading)
    check_replaceable(out)
    assert not waiting
    (out / "c.txt").touch()
    with pytest.raises(OutputExistsError, match=r"c\.txt"):
        check_replaceable(out)


def test_an_output_is_no_input(tmp_path: Path) -> None:
    source = output(tmp_path / "a")
    for place in (source, source / "out"):
        with pytest.raises(OptionError, match="input"):
            check_output(place, [source], force=True)
    with pytest.raises(OptionError, match="would replace the input"):
        check_output(tmp_path, [source], force=True)


def test_the_folder_to_write_into_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        check_output(tmp_path / "missing" / "out", [], force=False)
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError, match="is a file, and not a folder"):
        check_output(tmp_path / "file" / "out", [], force=False)
