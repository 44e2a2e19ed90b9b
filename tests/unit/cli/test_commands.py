"""The commands, by their names."""

from __future__ import annotations

import pytest

from adapterops.cli import main
from adapterops.cli.commands import COMMANDS


def test_every_command_is_a_module_of_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert main.run([name, "--help"]) == 0
        assert f"adapterops {name}" in capsys.readouterr().out
    assert main.run(["no-such-command"]) == 2
