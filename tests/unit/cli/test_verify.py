"""`verify`: exit code 0 for what the manifest says, 8 for anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    write_tuned(tmp_path / "other", seed=1)
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "-o", "fused"]) == 0


@pytest.mark.parametrize("arguments", [[], ["--base", "base", "--adapter", "a"], ["--adapter", "a=a"]])
def test_what_was_fused(arguments: list[str], capsys: Capture) -> None:
    assert run(["verify", "fused", *arguments]) == 0
    assert "6 adapted weights" in (shown := capsys.readouterr().out)
    assert shown.rstrip().endswith("verified")


def test_what_to_do_next(capsys: Capture) -> None:
    assert run(["verify", "base", "--base", "base", "--adapter", "a"]) == 8
    said = capsys.readouterr().err
    assert "error: base: no entry of any adapted weight" in said
    assert "adapterops diagnose base --base base --adapter a" in said
    shutil.rmtree("a")
    write_tuned(Path("a"), seed=3)
    assert run(["verify", "fused"]) == 8
    assert "a/adapter_model.safetensors is not the file that it was made from" in capsys.readouterr().err


def test_another_adapter_is_not_in_it(capsys: Capture) -> None:
    assert run(["verify", "fused", "--base", "base", "--adapter", "other", "--json"]) == 8
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["details"]["verified"] is False
    assert len(error["details"]["problems"]) >= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--made-by", "peft"], "--made-by compares with --base and every --adapter"),
        (["--made-by", "peft", "--base", "base", "--adapter", "a", "--ties"], "takes every adapter at weight 1"),
        (["--part", "1/2", "--logits"], "--part and --engine compare a folder here"),
        (["--adapter", "a=a", "--adapter", "other"], "some adapters are given with a name and some without"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], message: str, capsys: Capture) -> None:
    assert run(["verify", "fused", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_model_without_a_manifest_needs_names(capsys: Capture) -> None:
    assert run(["verify", "base"]) == 2
    assert "has no manifest that says how it was made" in capsys.readouterr().err


def test_what_was_quantized_is_for_diagnose(capsys: Capture) -> None:
    assert run(["quantize", "base", "--to", "int8", "-o", "in codes"]) == 0
    assert run(["verify", "in codes"]) == 2
    assert "adapterops diagnose 'in codes' --base BASE says what it is" in capsys.readouterr().err
    assert run(["diagnose", "in codes", "--base", "base"]) == 8
    assert "only rounded to int8" in capsys.readouterr().out
