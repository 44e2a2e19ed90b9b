"""`methods`: every registered method, with its parameters."""

from __future__ import annotations

import json

import pytest

from adapterops.cli.main import run
from adapterops.methods import METHODS


def test_all_of_them_for_people_and_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods"]) == 0
    shown = capsys.readouterr().out
    assert run(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["methods"]
    assert list(listed) == list(METHODS)
    for name, method in METHODS.items():
        assert f"--{name.replace('_', '-')}\n    {method.summary}\n    {method.source}\n" in shown
        assert listed[name]["parameters"] == method.defaults
        for parameter in method.defaults:
            assert method.parameters[parameter].help in shown
