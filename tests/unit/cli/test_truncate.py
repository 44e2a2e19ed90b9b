"""`truncate`: one way of cutting, and a folder that is named after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import write_adapter

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "a", rank=4)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("option", "value", "folder"),
    [("--rank", "2", "a-r2"), ("--energy", "0.5", "a-e0.5"), ("--budget", "100", "a-b100")],
)
def test_the_output_is_named_after_the_cut(option: str, value: str, folder: str) -> None:
    assert run(["truncate", "a", option, value]) == 0
    output = json.loads(Path(folder, "adapterops.json").read_text())["request"]["output"]
    assert float(output[option[2:]]) == float(value)
    assert max(each.rank for each in ao.open_adapter(folder).layout.values()) < 4


@pytest.mark.parametrize("cut", [[], ["--rank", "2", "--energy", "0.5"]])
def test_exactly_one_way_of_cutting(cut: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["truncate", "a", *cut]) == 2
    assert "exactly one of rank, energy and budget" in capsys.readouterr().err
