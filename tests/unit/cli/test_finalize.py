"""What `finalize`, and commands with --part, print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run


def test_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    fuse = ["fuse", "base", "a", "-o", "out", "--part"]
    assert run([*fuse, "1/2"]) == 0
    assert capsys.readouterr().out == ("part 1/2 of out: wrote 2 files\n  not finished yet: 2 files of other parts\n")
    assert run([*fuse, "1/2", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["kind"] == "part"
    assert (part["written"], len(part["kept"]), len(part["missing"]), part["path"]) == ([], 2, 2, "out")
    assert run([*fuse, "2/2"]) == 0
    assert "every file is there: adapterops finalize out" in capsys.readouterr().out
    assert run(["finalize", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "saved-checkpoint"
    assert run(["finalize", "out"]) == 0
    assert capsys.readouterr().out == "out is complete already: there is nothing to do\n"
    assert run(["finalize", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "finalized"
    assert run(["finalize", "nothing", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "E-PARTS"
    assert run(["verify", "out", "--part", "1/2", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert all((tmp_path / "out" / file).is_file() for file in part["written"] + part["missing"]), (
        "the model's own names"
    )
    assert run(["finalize", "out"]) == 5
    assert f"files are missing: {part['missing'][0]}, " in capsys.readouterr().err
    assert run(["verify", "out", "--part", "1/1"]) == 0
    assert capsys.readouterr().out.startswith("part 1/1 of out: verified ")
