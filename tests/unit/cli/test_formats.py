"""`formats`: every registered format and scheme, and what can be done with it."""

from __future__ import annotations

import json

import pytest

from adapterops.cli.main import run
from adapterops.formats.registry import FORMATS, written
from adapterops.quant.registry import SCHEMES


def test_all_of_them_for_people_and_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats"]) == 0
    shown = capsys.readouterr().out
    assert run(["formats", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert list(listed["formats"]) == list(FORMATS)
    assert {name for name, each in listed["formats"].items() if each["written"]} == set(written())
    for name, each in listed["formats"].items():
        assert f"  {name}: read{' and written' if each['written'] else ''}\n    {each['summary']}\n" in shown
        assert each["summary"].endswith(".")
        assert each["dtypes"]


def test_a_scheme_is_made_or_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["schemes"]
    assert {name for name, each in listed.items() if each["made"]} == {"nf4", "fp4", "int8"}
    assert all(each["kept"] for each in listed.values())
    assert {"gptq", "awq", "mxfp4", "Q4_K"} <= listed.keys() <= SCHEMES.keys()
