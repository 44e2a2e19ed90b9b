"""The lines of `gram`."""

import os
from pathlib import Path

import pytest

from adapterops.cli.gram import _lines
from adapterops.errors import InputError, OptionError


def test_the_first_lines_with_text(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("one\n\n  two \nthree\n", encoding="utf-8")
    assert _lines(tmp_path / "lines", 2) == ["one", "two"]


def test_files_that_have_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(OptionError, match="no line with text"):
        _lines(tmp_path / "empty", 5)
    (tmp_path / "other").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        _lines(tmp_path / "other", 5)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(InputError, match="not a regular file"):
            _lines(tmp_path / name, 5)
