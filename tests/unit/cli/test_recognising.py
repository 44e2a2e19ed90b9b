"""`adapterops verify --made-by`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from merged_models import CONVENTIONS, FAULTS, Merge, base, lora, write

from adapterops.cli.main import run

BEFORE, ADAPTER = base(1, torch.bfloat16), lora(1, dtype=torch.float16)
ARGUMENTS = ["--base", "base", "--adapter", "mine", "--made-by"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "base", BEFORE)
    ADAPTER.save(tmp_path / "mine")
    merge = Merge(BEFORE, [ADAPTER], CONVENTIONS["peft"])
    write(tmp_path / "merged", merge.made())
    write(tmp_path / "wrong", FAULTS["norm"].plant(merge))


def test_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "merged", *ARGUMENTS, "peft"]) == 0
    assert "  rounded twice: ΔW to the adapter's dtype, then the sum: 14 modules" in capsys.readouterr().out
    assert run(["verify", "merged", *ARGUMENTS, "peft", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["made_by"], found["verified"]) == ("verification", "peft", True)


def test_not_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "wrong", *ARGUMENTS, "peft", "--sarif", "wrong.sarif"]) == 8
    assert "model.norm.weight" in capsys.readouterr().err
    assert len(json.loads(Path("wrong.sarif").read_text())["runs"][0]["results"]) == 1
    assert run(["verify", "merged", *ARGUMENTS, "unsloth"]) == 8


@pytest.mark.parametrize("more", [["--logits"], ["--dtype", "float32"], ["--ties"]])
def test_other_options_are_refused(more: list[str]) -> None:
    assert run(["verify", "merged", *ARGUMENTS, "peft", *more]) == 2


def test_both_inputs_are_needed() -> None:
    assert run(["verify", "merged", "--made-by", "peft"]) == 2
