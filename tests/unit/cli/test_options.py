"""How the values of options are read, and what the manifest keeps of a command line."""

from __future__ import annotations

import click
import pytest

from adapterops.cli import options, values
from adapterops.errors import OptionError
from adapterops.hub.references import Reference


@pytest.mark.parametrize("text", ["F32", "f32", "float32", "Float32"])
def test_a_dtype_as_anybody_spells_it(text: str) -> None:
    assert values.DType().convert(text, None, None) == "F32"


def test_what_is_no_dtype() -> None:
    with pytest.raises(click.BadParameter, match="bfloat16"):
        values.DType().convert("int7", None, None)


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * 10**9), ("1.5 MB", 1_500_000), (" 1kB ", 1000)])
def test_sizes(text: str, size: int) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "2", "GB", "-1GB", "0GB", "1TBB", "1e3MB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(OptionError, match="500MB"):
        options.size(text)


def test_a_repository() -> None:
    assert values.REPO.convert("me/a@v2", None, None) == Reference("me/a", "v2")
    with pytest.raises(click.BadParameter, match="is not a repository"):
        values.REPO.convert("./a", None, None)


def test_a_command_line_is_kept_without_the_machine_it_ran_on(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "fuse /home/me/base a --alpha=3 --original=/home/me/full -o /tmp/x --output=y -oz --workers 3 --force --json -w 0.5"
    monkeypatch.setattr("sys.argv", ["/usr/bin/adapterops", *arguments.split()])
    assert options.command_line() == ["adapterops", "fuse", "base", "a", "--alpha=3", "--original=full", "-w", "0.5"]
