"""`verify --sarif` and `check --sarif` write what they found, and end as they do without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import MODULES, write_adapter
from safetensors.torch import save_file

from adapterops.cli.main import run


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_adapter(Path("adapter"))
    Path("base").mkdir()
    save_file({f"{module}.weight": torch.randn(12, 8) for module in MODULES}, "base/model.safetensors")
    assert run(["fuse", "base", "adapter", "-o", "model"]) == 0
    return Path("model")


def results(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(path).read_text())["runs"][0]["results"]
    return found


def test_a_good_model_has_no_results(model: Path) -> None:
    assert run(["verify", "model", "--sarif", "verify.sarif"]) == 0
    assert results("verify.sarif") == []


def test_a_flipped_bit_is_a_result(model: Path) -> None:
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "model.safetensors").write_bytes(data)
    assert run(["verify", "model", "--sarif", "verify.sarif", "--json"]) == 8
    assert any("layers.1.q_proj" in result["message"]["text"] for result in results("verify.sarif"))


def test_no_other_file_is_replaced(model: Path) -> None:
    before = (model / "model.safetensors").read_bytes()
    assert run(["verify", "model", "--sarif", "model/model.safetensors"]) == 6
    assert (model / "model.safetensors").read_bytes() == before


def test_check_writes_what_one_program_does_wrong(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path("adapter/adapter_config.json")
    assert run(["check", "adapter", "--for", "sglang", "--sarif", "check.sarif"]) == 0
    assert results("check.sarif") == []
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_rslora": True}))
    assert run(["check", "adapter", "--for", "sglang", "--sarif", "check.sarif"]) == 8
    (found,) = results("check.sarif")
    assert "silently wrong in SGLang" in found["message"]["text"]
    assert "adapterops normalize adapter" in found["message"]["text"]
    capsys.readouterr()
    assert run(["check", "adapter", "--sarif", "check.sarif"]) == 2
    assert "name it with --for" in capsys.readouterr().err
