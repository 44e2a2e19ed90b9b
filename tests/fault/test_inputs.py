"""Inputs that change while they are read, or hold a number that cannot be written."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from commands import Fault, faulty, path_of
from corpus import config, tree, write_adapter
from interrupted import CLEAN, SHARDS, Fuse, longer, names, remove, removed, replaced, rewritten, shorter
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned, write_unmerged

from adapterops.updates import survival


@pytest.mark.parametrize("change", [replaced, rewritten, shorter, longer, removed])
@pytest.mark.parametrize(
    "name",
    [
        f"base/{SHARDS[1]}",
        f"base/{SHARDS[3]}",
        "base/config.json",
        "base/tokenizer.json",
        "a/adapter_model.safetensors",
        "a/adapter_config.json",
    ],
)
@pytest.mark.parametrize(
    "when", [Fault("posix_fallocate"), Fault("fsync", where="/config.json$")], ids=["before it is read", "after"]
)
def test_an_input_changes(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, when: Fault, name: str, change: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(os, when.function, faulty(when, lambda: change(place / name)))
    code, shown = fuse()
    assert code == 3
    assert Path(name).name in shown
    assert "changed while it was read" in shown or "shrank while it was read" in shown
    assert "Traceback" not in shown
    assert names(place) == CLEAN


@pytest.mark.parametrize("change", [replaced, rewritten, shorter, longer, removed])
@pytest.mark.parametrize("command", [["truncate", "a", "--rank", "1"], ["merge", "a", "base/../a", "--ties"]])
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_changes(
    place: Path,
    fuse: Fuse,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    name: str,
    change: Callable[[Path], None],
) -> None:
    when = Fault("posix_fallocate")
    monkeypatch.setattr(os, when.function, faulty(when, lambda: change(place / "a" / name)))
    code, shown = fuse("-o", "out", command=command)
    assert code == 3
    assert "changed while it was read" in shown or "shrank while it was read" in shown
    assert names(place) == CLEAN


@pytest.mark.parametrize("change", [replaced, rewritten, shorter, longer, removed])
@pytest.mark.parametrize(
    "command",
    [
        ["fuse", "pickled", "a", "-o", "out"],
        ["quantize", "pickled", "--to", "int8", "-o", "out"],
        ["extract", "pickled", "--base", "base", "--rank", "1", "-o", "out"],
    ],
    ids=lambda command: command[0],
)
def test_a_pickle_changes(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, command: list[str], change: Callable[[Path], None]
) -> None:
    """Also when it shrinks, which would kill a process that has it mapped."""
    tensors: dict[str, torch.Tensor] = {}
    for shard in SHARDS:
        tensors |= {name: tensor.clone() for name, tensor in load_file(place / "base" / shard).items()}
    tensors["model.layers.0.q_proj.weight"] += 1
    (place / "pickled").mkdir()
    torch.save(tensors, place / "pickled/pytorch_model.bin")
    cut = (lambda path: os.truncate(path, 2000)) if change is shorter else change
    when = Fault("posix_fallocate")
    monkeypatch.setattr(os, when.function, faulty(when, lambda: cut(place / "pickled/pytorch_model.bin")))
    code, shown = fuse("--allow-pickle", command=command)
    assert code == 3
    assert "E-CHANGED" in shown or "changed while" in shown or "shrank while" in shown
    assert names(place) == {*CLEAN, "pickled"}


SMALL = [
    (["fuse", "base", "a"], "base/config.json", {"vocab_size": 7}),
    (["fuse", "base", "a"], "base/tokenizer.json", {"vocabulary": ["b"]}),
    (["fuse", "base", "a"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["fuse", "base", "a"], "a/tokenizer.json", {"added_tokens": [1]}),
    (["unfuse", "base", "a"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["fuse", "base", "mlx"], "mlx/adapter_config.json", {"lora_parameters": {"rank": 2, "scale": 9.0}}),
    (["truncate", "a", "--rank", "1"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["merge", "a", "mlx"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["convert", "mlx", "--to", "peft"], "mlx/adapter_config.json", {"lora_parameters": {"rank": 2, "scale": 9.0}}),
    (["normalize", "a"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["compress", "a", "mlx"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["extract", "other", "--base", "base", "--rank", "1"], "other/config.json", {"vocab_size": 7}),
    (["quantize", "base", "--to", "int8"], "base/config.json", {"torch_dtype": "float32"}),
    (["dequantize", "int8"], "int8/config.json", {"torch_dtype": "float32"}),
    (["split", "both"], "both/adapter_config.json", {"lora_alpha": 6}),
    (["run", "recipe.json"], "a/adapter_config.json", {"lora_alpha": 6}),
    (["run", "recipe.json"], "recipe.json", {"output": {"rank": 1}}),
]
"""Commands, small files that they read, and what is another in these, then."""


@pytest.mark.parametrize(("command", "name", "fields"), SMALL, ids=lambda each: each if isinstance(each, str) else None)
def test_a_small_file_is_replaced_between_its_readings(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str, fields: dict[str, object]
) -> None:
    """What is written has the numbers of one file, and the hash of the same; or the command says that it changed."""
    prepare(place, fuse)
    path, before = place / name, names(place)
    old = path.read_bytes()
    new = json.dumps({**json.loads(old), **fields}).encode()
    path.write_bytes(new)
    assert fuse("-o", "out", command=command)[0] == 0
    whole = tree(place / "out")
    remove(place / "out")
    for nth in count(1):
        path.write_bytes(old)
        done = []

        def replace(done: list[Path] = done) -> None:
            path.with_name("new").write_bytes(new)
            os.replace(path.with_name("new"), path)
            done.append(path)

        when = Fault("open", where=f"/?{re.escape(name)}$", nth=nth, after=True)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", faulty(when, replace))
            code, shown = fuse("-o", "out", command=command)
        if not done:
            break
        if code == 0 and name != "recipe.json":
            assert tree(place / "out") == whole
        elif code != 0:
            assert (code, "changed while it was read" in shown) == (3, True), shown
        remove(place / "out")
        assert names(place) == before
    assert nth > 1


def prepare(place: Path, fuse: Fuse) -> None:
    """What the commands of `SMALL` read."""
    (place / "a/tokenizer.json").write_text('{"vocabulary": ["a", "ü"]}')
    inputs = {"x": "a", "y": "mlx"}
    (place / "recipe.json").write_text(json.dumps({"adapterops": 1, "inputs": inputs, "result": "x + y"}))
    for command in (
        ["convert", "a", "--to", "mlx", "-o", "mlx"],
        ["fuse", "base", "a", "-o", "other"],
        ["quantize", "base", "--to", "int8", "-o", "int8"],
    ):
        assert fuse(command=command)[0] == 0
    write_unmerged(place / "both", place / "base", place / "a")
    shutil.copyfile(place / "a/adapter_config.json", place / "both/adapter_config.json")


@pytest.mark.parametrize("layer", [0, 11])
def test_a_bad_number_ends_the_work(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, layer: int) -> None:
    monkeypatch.chdir(tmp_path)
    bad = f"model.layers.{layer}.q_proj.weight"
    write_base(tmp_path / "base", layers=12, nan=bad)
    write_tuned(tmp_path / "a", layers=12)
    before, real, weights = tree(tmp_path), os.pwrite, []

    def write(descriptor: int, data: memoryview, position: int) -> int:
        if len(data) == 2 * 12 * 8:
            weights.append((path_of(descriptor), position))
        return real(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", write)
    code, shown = fuse("--workers", "1")
    assert code == 3
    assert bad in shown
    assert shown.count("error:") == 1
    assert "Traceback" not in shown
    assert len(weights) == len(set(weights))  # nothing is tried twice
    if layer == 0:
        assert len(weights) < 12, "of 24: what was waiting is not done any more"
    assert tree(tmp_path) == before
    assert names(tmp_path) == CLEAN


def test_two_bad_numbers_are_one_error(place: Path, fuse: Fuse) -> None:
    bad = load_file(place / "a/adapter_model.safetensors")
    remove(place / "a")
    for name in bad:
        bad[name][0, 0] = torch.inf
    write_adapter(place / "a", bad, config(2))
    code, shown = fuse()
    assert code == 3
    assert shown.count("error:") == 1
    assert "layers.0.q_proj" in shown
    assert names(place) == CLEAN


def test_a_bug_leaves_nothing_behind(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survival, "survival", lambda *arguments, **named: 1 / 0)
    code, shown = fuse()
    assert code == 1
    assert "this is a bug in adapterops" in shown
    assert names(place) == CLEAN
