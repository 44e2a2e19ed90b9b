"""`quantize`: the scheme and its details become a request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import write_base

from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base", out=64, into=64)
    monkeypatch.chdir(tmp_path)


def test_the_output_is_named_after_the_scheme_and_loads_with_it() -> None:
    assert run(["quantize", "base", "--double-quant"]) == 0
    request = json.loads(Path("base-nf4/adapterops.json").read_text())["request"]
    assert request["quantize"] == {"scheme": "nf4", "double_quant": True}
    config = json.loads(Path("base-nf4/config.json").read_text())["quantization_config"]
    assert (config["bnb_4bit_quant_type"], config["bnb_4bit_use_double_quant"]) == ("nf4", True)


def test_a_scheme_that_is_only_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantize", "base", "--to", "gptq"]) == 2
    assert "gptq can be read, and not made from a model in 16 bits" in capsys.readouterr().err
