from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import Fault, faulty
from corpus import tree
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, OutputExistsError
from adapterops.requests.splitting import ADAPTER

LAYERS = 3


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of several files, with LoRA in each of its layers."""
    folder, where = tmp_path / "model", {}
    folder.mkdir()
    for number in range(LAYERS):
        layer, name = f"layers.{number}.q_proj", f"model-0000{number + 1}-of-0000{LAYERS}.safetensors"
        shapes = {"base_layer.weight": (8, 6), "lora_A.default.weight": (2, 6), "lora_B.default.weight": (8, 2)}
        tensors = {f"{layer}.{end}": torch.randn(shape) for end, shape in shapes.items()}
        save_file(tensors, folder / name)
        where |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_every_tensor_is_copied_byte_for_byte(model: Path, tmp_path: Path) -> None:
    found = ao.split(model, tmp_path / "parts", alpha=4)
    whole = {name: each for path in model.glob("*.safetensors") for name, each in load_file(path).items()}
    base = {
        name: each for path in (tmp_path / "parts/base").glob("*.safetensors") for name, each in load_file(path).items()
    }
    adapter = load_file(tmp_path / "parts/adapter/adapter_model.safetensors")
    for number in range(LAYERS):
        layer = f"layers.{number}.q_proj"
        assert torch.equal(base.pop(f"{layer}.weight"), whole.pop(f"{layer}.base_layer.weight"))
        for role in ("lora_A", "lora_B"):
            assert torch.equal(
                adapter.pop(f"base_model.model.{layer}.{role}.weight"), whole.pop(f"{layer}.{role}.default.weight")
            )
    assert (base, adapter, whole) == ({}, {}, {})
    assert (found.modules, found.tensors) == ({f"layers.{number}.q_proj": 2 for number in range(LAYERS)}, LAYERS)
    assert (tmp_path / "parts/base/tokenizer.json").exists()
    assert not (tmp_path / "parts/adapter/tokenizer.json").exists()


KILLED = """
import os, signal, sys
import adapterops as ao
from adapterops.engine.execution import Execution
def progress(done, total):
    if done == 2:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
ao.split("model", "parts", alpha=4, how=Execution(1, sync=False, progress=progress))
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("resume", [True, False])
def test_both_appear_or_neither_does(model: Path, tmp_path: Path, name: str, resume: bool) -> None:
    before = tree(model)
    ao.split(model, tmp_path / "whole", alpha=4)
    done = subprocess.run([sys.executable, "-c", KILLED, name], cwd=tmp_path, check=False)
    assert done.returncode == -getattr(signal, name)
    assert not (tmp_path / "parts").exists()
    ao.split(model, tmp_path / "parts", alpha=4, resume=resume)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert tree(model) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "parts", "whole"]


def test_what_fails_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the last step: what is written is read before it has its name."""
    monkeypatch.setattr("adapterops.requests.splitting.open_adapter", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ao.split(model, tmp_path / "parts", alpha=4)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_force_replaces_what_a_split_wrote_and_nothing_else(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    ao.split(model, out, alpha=4)
    with pytest.raises(OutputExistsError):
        ao.split(model, out, alpha=8)
    ao.split(model, out, alpha=8, force=True)
    assert json.loads((out / "adapter/adapter_config.json").read_text())["lora_alpha"] == 8
    for added in ("base/notes.txt", "adapter/inner/x", "notes.txt"):
        (out / added).parent.mkdir(exist_ok=True)
        (out / added).write_text("mine")
        with pytest.raises(OutputExistsError, match="holds what adapterops did not write"):
            ao.split(model, out, alpha=8, force=True)
        (out / added).unlink()
        if added.count("/") == 2:
            (out / added).parent.rmdir()
    (out / "base/tokenizer.json").unlink()
    (out / "base/tokenizer.json").symlink_to(model / "tokenizer.json")
    with pytest.raises(OutputExistsError, match=r"base/tokenizer\.json"):
        ao.split(model, out, alpha=8, force=True)


def test_an_output_inside_the_model_is_refused(model: Path) -> None:
    with pytest.raises(OptionError, match="inside the input"):
        ao.split(model, model / "parts", alpha=4)


def test_a_plan_reads_headers_only(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["split", str(model), "--alpha", "4", "-o", str(tmp_path / "parts")]
    assert run([*command, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert list(plan["shards"])[-1] == "adapter/adapter_model.safetensors"
    assert not (tmp_path / "parts").exists()
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == sum(
        path.stat().st_size for path in (tmp_path / "parts").rglob("*.safetensors")
    )
    ao.split(model, tmp_path / "again", alpha=4, how=Execution(2))
    shards = [{n: c for n, c in tree(tmp_path / each).items() if "adapterops" not in n} for each in ("parts", "again")]
    assert shards[0] == shards[1]


def test_a_model_that_is_replaced_while_it_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is open stays what it was, and is not what the path names any more."""
    path = model / "model-00002-of-00003.safetensors"

    def change() -> None:
        path.with_suffix(".new").write_bytes(path.read_bytes())
        path.with_suffix(".new").replace(path)

    monkeypatch.setattr(os, "posix_fallocate", faulty(Fault("posix_fallocate", where=f"/{ADAPTER}/"), change))
    assert run(["split", str(model), "--alpha", "4", "-o", str(tmp_path / "parts")]) == 3
    assert "changed while it was read" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
