from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.cli.main import run


def test_it_says_what_it_would_write_and_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {"q.base_layer.weight": (8, 6), "q.lora_A.default.weight": (2, 6), "q.lora_B.default.weight": (8, 2)}
    model, out = tmp_path / "model.safetensors", tmp_path / "parts"
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, model)
    command = ["split", str(model), "-o", str(out)]
    assert run(command) == 3
    assert "--alpha 16" in capsys.readouterr().err
    assert run([*command, "--alpha", "4", "--dry-run"]) == 0
    assert "adapter/adapter_model.safetensors: 2 tensors" in capsys.readouterr().out
    assert not out.exists()
    assert run([*command, "--alpha", "4"]) == 0
    shown = capsys.readouterr().out
    assert f"{out / 'base'}: 1 tensor" in shown
    assert f"{out / 'adapter'}: 1 module, rank 2" in shown
    assert run([*command, "--alpha", "4"]) == 6
    capsys.readouterr()
    assert run([*command[:-1], str(tmp_path / "again"), "--alpha", "4", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    for name in ("show", "fuse"):
        capsys.readouterr()
        assert run([name, str(model), *([str(out / "adapter")] if name == "fuse" else [])]) == 3
        assert f"adapterops split {model} -o OUT" in capsys.readouterr().err
