"""What headers alone say of a module."""

from __future__ import annotations

from pathlib import Path

from peft_folders import adapter

from adapterops.formats.peft.files import read_files


def test_shape_rank_and_numbers_of_a_module(tmp_path: Path) -> None:
    files = read_files(adapter(tmp_path, {}))
    layout = files.layout("q")
    assert (layout.shape, layout.rank, layout.dtype) == ((6, 4), 2, "F32")
    assert files.parameters("q") == 2 * 4 + 6 * 2
