"""`formats`: every registered format and scheme, and what can be done with it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

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


def test_every_format_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of image and video models are of one class, and differ in what their names look like."""
    assert run(["formats", "--json"]) == 0
    summaries = [each["summary"] for each in json.loads(capsys.readouterr().out)["formats"].values()]
    assert len(set(summaries)) == len(summaries)


def test_a_scheme_is_made_or_kept_or_only_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["schemes"]
    kept = {"gptq", "awq", "mxfp4", "Q4_K"}
    made, read = ({name for name, each in listed.items() if each[how]} for how in ("made", "kept"))
    assert made >= {"nf4", "fp4", "int8"}
    assert not made & kept
    assert read >= kept
    assert listed.keys() == SCHEMES.keys()


def test_a_scheme_that_is_only_read(capsys: pytest.CaptureFixture[str]) -> None:
    SCHEMES.add("toy", replace(SCHEMES["gptq"], names=("toy",), keeps=False))
    try:
        assert run(["formats"]) == 0
    finally:
        SCHEMES.remove("toy")
    assert re.search("^  toy: read$", capsys.readouterr().out, re.MULTILINE)
