"""`dequantize`: what `quantize` made, as numbers again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_base

import adapterops as ao
from adapterops.cli.main import run


def test_every_weight_is_in_the_dtype_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base", out=64, into=64)
    monkeypatch.chdir(tmp_path)
    assert run(["quantize", "base", "-o", "codes"]) == 0
    assert run(["dequantize", "codes", "--dtype", "float32"]) == 0
    before, after = ao.open_checkpoint("codes"), ao.open_checkpoint("codes-dequantized")
    assert before.schemes
    assert not after.schemes
    assert {spec.dtype for spec in after.layout.values()} == {"F32", "I64"}
    assert "quantization_config" not in (after.config or {})
