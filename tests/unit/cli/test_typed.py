"""What the manifest keeps of a command line."""

from __future__ import annotations

import pytest

from adapterops.cli.typed import again, command_line


def test_a_command_line_is_kept_without_the_machine_it_ran_on(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "fuse /home/me/base a --alpha=3 --original=/home/me/full -o /tmp/x --output=y -oz --workers 3 --force --json -w 0.5"
    monkeypatch.setattr("sys.argv", ["/usr/bin/adapterops", *arguments.split()])
    assert command_line() == ["adapterops", "fuse", "base", "a", "--alpha=3", "--original=full", "-w", "0.5"]


def test_a_command_with_another_value_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["adapterops", *["merge", "a", "b", "--scale", "auto", "--dry-run", "-o", "out"]])
    assert again("--scale", "sum") == "adapterops merge a b -o out --scale sum"
