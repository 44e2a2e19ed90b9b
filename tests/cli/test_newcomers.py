"""Mistakes of a first hour: each ends in one message, which names the next step."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from corpus import write_adapter

from adapterops.cli.main import run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_adapter(tmp_path / "a")
    write_adapter(tmp_path / "b")
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "fact", "step"),
    [
        ("mrege a b", 2, "there is no command 'mrege'", "did you mean adapterops merge?"),
        ("info a", 2, "there is no command 'info'", "did you mean adapterops show?"),
        ("requantize a", 2, "there is no command 'requantize'", "did you mean adapterops quantize?"),
        ("merge a b --tise", 2, "--tise", "--ties"),
        ("merge a b --method tise", 2, "'tise' is not one of", "ties"),
        ("merge a b --weight 0.5 0.5", 2, "0.5 stands where an adapter is expected", "-w 0.7,0.3"),
        ("merge a b -w 0.5", 2, "1 weight for 2 adapters", "give one -w for each adapter"),
        ("merge a", 0, "", ""),
        ("merge a b --scale rms", 2, "scale must be auto, sum, mean or a number", ""),
        ("merge a missing", 5, "missing: does not exist", ""),
        ("merge a empty", 3, "empty", "adapter"),
        ("merge a b -o taken", 6, "taken", "another"),
        ("truncate a", 2, "rank, energy", "--rank 8"),
        ("truncate a --rank zero", 2, "zero", "adapterops truncate --help"),
        ("compare a", 2, "nothing to compare it with", "adapterops report"),
        ("fuse a b", 3, "a: is an adapter, where a model is needed", "name the folder of the model"),
        ("merge", 2, "SOURCES", "adapterops merge --help"),
    ],
)
def test_one_message(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, code: int, fact: str, step: str
) -> None:
    assert run(shlex.split(command)) == code
    shown = capsys.readouterr().err
    assert fact in shown
    assert step in shown
    assert "Traceback" not in shown
    assert "Usage:" not in shown
    assert (place / "taken/notes.txt").read_text() == "mine"


def test_errors_of_usage_are_those_of_all_other_kinds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a", "--tise", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "E-OPTION"
    assert error["hint"] == "see adapterops merge --help"


def test_weights_in_one_option_are_those_in_several(place: Path) -> None:
    assert run(shlex.split("merge a b --method ties -w 0.7,-0.3 -o one")) == 0
    assert run(shlex.split("merge a b --ties -w 0.7 -w -0.3 -o several")) == 0
    name = "adapter_model.safetensors"
    assert (place / "one" / name).read_bytes() == (place / "several" / name).read_bytes()


def test_a_method_by_name_and_by_flag(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split("merge a b --method dare-ties --dare-ties --dry-run")) == 0
    assert run(shlex.split("merge a b --method ties --linear")) == 2
    assert "--linear and --ties exclude each other" in capsys.readouterr().err
