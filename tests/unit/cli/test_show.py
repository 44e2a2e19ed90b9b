"""`show`: an adapter, a model, and what does not go with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import write_adapter
from tiny_models import write_base

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "a")
    write_base(tmp_path / "base")
    monkeypatch.chdir(tmp_path)


def test_an_adapter_by_groups_and_by_modules(capsys: Capture) -> None:
    assert run(["show", "a", "--spectrum", "-v"]) == 0
    shown = capsys.readouterr().out
    assert "LoRA on some/base" in shown
    assert "3 modules, 120 parameters" in shown
    assert "layers.1.q_proj" in shown
    assert "of the energy over all modules" in shown


def test_json_has_what_was_asked_for(capsys: Capture) -> None:
    for arguments, kind in ((["a"], "adapter"), (["a", "--spectrum"], "adapter"), (["base"], "checkpoint")):
        assert run(["show", *arguments, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["kind"] == kind
        assert ("spectrum" in found) == ("--spectrum" in arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base", "--spectrum"], "is a model, and --spectrum is for adapters"),
        (["a", "--base", "base"], "show compares --base with --original"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], message: str, capsys: Capture) -> None:
    assert run(["show", *arguments]) == 2
    assert message in capsys.readouterr().err
