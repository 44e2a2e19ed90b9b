"""`report`: what it writes, what it prints of that, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import write_adapter

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate("ab"):
        write_adapter(tmp_path / name, seed=seed)
    monkeypatch.chdir(tmp_path)


def test_json_names_every_file_that_is_written(capsys: Capture) -> None:
    assert run(["report", "a", "b", "-o", "r.html", "--figures", "figures", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["kind"], found["path"]) == (1, "report", "r.html")
    assert sorted(found["drawn"]) == sorted(path.name for path in Path("figures").glob("*.svg"))
    assert found["bytes"] == Path("r.html").stat().st_size
    numbers = json.loads(Path(found["numbers"]).read_text())
    assert len(numbers["inputs"]) == 2


def test_one_line_for_each_file(capsys: Capture) -> None:
    assert run(["report", "a", "-o", "r.html"]) == 0
    assert capsys.readouterr().out.startswith("wrote r.html: ")
    assert run(["report", "a", "-o", "r.html"]) == 6
    assert run(["report", "a", "-o", "r.html", "--force", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_dry_run_says_the_paths_and_writes_none(capsys: Capture) -> None:
    before = sorted(Path.cwd().iterdir())
    assert run(["report", "a", "--figures", "figures", "--dry-run"]) == 0
    assert capsys.readouterr().out == "would write report.html, report.json, figures, about a\n"
    assert run(["report", "a", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paths"] == ["report.html", "report.json"]
    assert sorted(Path.cwd().iterdir()) == before
