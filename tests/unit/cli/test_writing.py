"""A plan, an output and a part, as a person and as a script is shown them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)


def test_a_plan_writes_nothing(capsys: Capture) -> None:
    assert run(["fuse", "base", "a", "-o", "out", "--dry-run", "-v"]) == 0
    shown = capsys.readouterr().out
    assert "would write out: 12 tensors in 4 files" in shown
    assert "tensors changed: 6, copied byte for byte: 6" in shown
    assert "model.layers.0.q_proj.weight" in shown
    assert run(["merge", "a", "-o", "out", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["kind"], plan["dry_run"], len(plan["modules"])) == ("plan", True, 6)
    assert not Path("out").exists()


def test_the_plan_of_a_part_says_what_is_its_share(capsys: Capture) -> None:
    fuse = ["fuse", "base", "a", "-o", "out", "--part", "2/3"]
    assert run([*fuse, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert run([*fuse, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert run([*fuse, "--json"]) == 0
    assert plan["part"]["files"] == json.loads(capsys.readouterr().out)["written"] != list(plan["shards"])
    assert plan["part"]["bytes"] == sum(plan["shards"][file]["bytes"] for file in plan["part"]["files"])
    assert f"  part 2/3: 1 file, {plan['part']['bytes']} B: {plan['part']['files'][0]}\n" in shown
    assert run(["fuse", "base", "a", "-o", "out", "--part", "9/9", "--dry-run"]) == 0
    assert "part 9/9: 0 files, as there are more parts than files" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["merge a -o -", "fuse base a -o-", "quantize base --output=-"])
def test_nothing_is_written_to_stdout(command: str, capsys: Capture) -> None:
    assert run(command.split()) == 2
    assert "one that is called so is ./-" in capsys.readouterr().err
    assert not Path("-").exists()


@pytest.mark.parametrize("command", ["merge", "fuse"])
def test_too_little_memory_is_said_before_anything_is_measured(command: str, capsys: Capture) -> None:
    base = ["--base", "base"] if command == "fuse" else []
    assert run([command, "a", "a", *base, "--ties", "-o", "out", "--memory", "1kB"]) == 7
    shown = capsys.readouterr()
    assert "the least that works is --memory" in shown.err
    assert not shown.out


def test_an_adapter_and_a_model_as_json(capsys: Capture) -> None:
    for arguments, kind in ((["merge", "a"], "saved-adapter"), (["fuse", "base", "a"], "saved-checkpoint")):
        assert run([*arguments, "-o", kind, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["kind"], found["path"], len(found["modules"])) == (kind, kind, 6)


def test_parts_say_what_is_left(capsys: Capture) -> None:
    assert run(["fuse", "base", "a", "-o", "out", "--part", "1/2"]) == 0
    assert "not finished yet: 2 files of other parts" in capsys.readouterr().out
    assert run(["fuse", "base", "a", "-o", "out", "--part", "2/2"]) == 0
    assert "every file is there: adapterops finalize out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out", "--push", "me/it"], "--push keeps nothing here, and -o names a folder"),
        (["--push", "me/it", "--force"], "--force replaces an output that is here, and --push keeps nothing here"),
        (["--push", "me/it", "--resume"], "--push goes on where it stopped by itself"),
        (["--part", "1/2", "--resume"], "--part goes on where it stopped by itself"),
        (["--engine", "processes", "--resume"], "--engine goes on where it stopped by itself"),
        (["--engine", "ray", "--quantize", "nf4", "--device", "cuda"], "--engine ray computes on processors"),
    ],
)
def test_where_the_output_is_made(arguments: list[str], message: str, capsys: Capture) -> None:
    assert run(["fuse", "base", "a", *arguments]) == 2
    assert message in capsys.readouterr().err
