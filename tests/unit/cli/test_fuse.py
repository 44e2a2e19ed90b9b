"""`fuse`: several adapters become one update, and the model is copied but for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    for seed, name in enumerate("ab"):
        write_tuned(tmp_path / name, seed=seed)
    monkeypatch.chdir(tmp_path)


def test_it_is_the_merge_of_the_adapters_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "base", "a", "b", "-w", "0.5", "-w", "0.25", "-o", "at-once"]) == 0
    assert run(["merge", "a", "b", "-w", "0.5", "-w", "0.25", "-o", "ab"]) == 0
    assert run(["fuse", "ab", "--base", "base", "-o", "in-two"]) == 0
    one, other = (ao.open_checkpoint(name) for name in ("at-once", "in-two"))
    same = [name for name in one.layout if one.stored[name].same_bytes(other.stored[name])]
    assert len(same) >= len(one.layout) - 3, "but for a rounding of the factors"
    manifest = json.loads(Path("at-once/adapterops.json").read_text())
    assert manifest["request"]["result"].startswith("linear(a, b, weights=[0.5, 0.25]")


def test_whole_models_are_merged_by_their_differences() -> None:
    for name in "ab":
        assert run(["fuse", "base", name, "--dtype", "float32", "-o", f"tuned-{name}"]) == 0
    arguments = ["--tuned", "tuned-a", "--tuned", "tuned-b", "-w", "1", "-w", "1", "--dtype", "float32"]
    assert run(["fuse", "base", *arguments, "-o", "merged"]) == 0
    assert run(["fuse", "base", "a", "b", "-w", "1", "-w", "1", "--dtype", "float32", "-o", "direct"]) == 0
    from safetensors.torch import load_file

    for file in Path("merged").glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert tensor.double().sub(load_file(Path("direct", file.name))[name].double()).abs().max() < 1e-5
