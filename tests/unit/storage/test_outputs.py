"""Where an output may go, and what may be replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapterops.errors import NotFoundError, OptionError, OutputExistsError
from adapterops.storage.outputs import CARD, MANIFEST, MARK, check_output, check_replaceable


def output(folder: Path, *files: str) -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps({"outputs": {key: {} for key in files}}))
    for name in files:
        (folder / name).touch()
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
