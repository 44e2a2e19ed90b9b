"""`methods`: every registered method, with its parameters."""

from __future__ import annotations

import json

import pytest

from adapterops.cli.main import run
from adapterops.methods import METHODS
from adapterops.methods.registry import Method


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


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_page_of_a_method_says_what_it_is_costs_and_needs(
    method: Method, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["methods", method.name.replace("_", "-")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"--{method.name.replace('_', '-')}\n    {method.summary}\n")
    for line in (method.kernel.__doc__ or "").splitlines():
        assert line.strip() in shown
    for needed in ("\n    Cost: ", f"\n    Source: {method.source}\n", "\n    Needs: ", f"--space: {method.spaces[0]}"):
        assert needed in shown
    assert all(method.parameters[each].help in shown for each in method.defaults)
    assert ("--grams" in shown) == (method.acts == "inputs")


def test_those_that_are_named_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", "tsv", "iso-cts", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["methods"]) == ["tsv", "iso_cts"]
    assert run(["methods", "iso"]) == 2
    assert "there is no method 'iso'" in capsys.readouterr().err
