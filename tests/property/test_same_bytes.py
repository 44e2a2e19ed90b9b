"""The same inputs give the same bytes: any workers, division, order of modules, hash seed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus import tree
from fused_models import (
    Folders,
    Layer,
    adapter_of,
    any_seed,
    models,
    raw_of,
    read_file,
    read_folder,
    save,
    write_file,
    write_model,
    write_pair,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterops.checkpoints.layouts import sharded
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.engine.execution import Execution
from adapterops.operations.fusion import fuse

# 6.9: the same bytes


@settings(max_examples=10)
@given(models(), st.sampled_from([None, "BF16"]))
def test_the_number_of_workers_changes_no_byte(
    tmp_path_factory: Folders, model: dict[str, Layer], dtype: str | None
) -> None:
    folder = tmp_path_factory.mktemp("workers")
    base = write_model(folder / "base", model)
    for workers in (1, 2, 3):
        fused = fuse(open_checkpoint(base), adapter_of(model), dtype=dtype)
        save(fused, folder / str(workers), Execution(workers, sync=False))
    assert tree(folder / "1") == tree(folder / "2") == tree(folder / "3")


def write_split(folder: Path, raw: dict[str, tuple[str, tuple[int, ...], bytes]], places: Sequence[int]) -> Path:
    """The same tensors in several files."""
    folder.mkdir()
    files: dict[str, dict[str, Any]] = {}
    for (name, content), place in zip(raw.items(), itertools.cycle(places), strict=False):
        files.setdefault(f"model-{place + 1:05}-of-00004.safetensors", {})[name] = content
    for file, tensors in files.items():
        write_file(folder / file, tensors)
    where = {name: file for file, tensors in files.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    return folder


@settings(max_examples=10)
@given(models(), st.lists(st.integers(0, 3), min_size=1, max_size=14), any_seed, st.sampled_from([1, 60, 300, 10**6]))
def test_how_the_base_and_the_output_are_divided_changes_no_tensor(
    tmp_path_factory: Folders, model: dict[str, Layer], places: list[int], seed: int, most: int
) -> None:
    model = {name.replace("up_proj", "c_fc"): replace_turned(each) for name, each in model.items()}
    folder, raw = tmp_path_factory.mktemp("split"), raw_of(model, seed)
    shuffled = dict(sorted(raw.items(), key=lambda item: hash((seed, len(item[0]), item[1][2]))))
    results = []
    for index, given_raw in enumerate((raw, dict(reversed(raw.items())), shuffled)):
        base = write_split(folder / f"base{index}", given_raw, places if index else [0])
        fused = fuse(open_checkpoint(base), adapter_of(model))
        for name, checkpoint in ((f"as{index}", fused), (f"anew{index}", sharded(fused, most))):
            save(checkpoint, folder / name)
            results.append(read_folder(folder / name))
    assert all(result == results[0] for result in results)
    check_divided(folder / "anew2", most)


def replace_turned(each: Layer) -> Layer:
    """The same layer stored as (in, out)."""
    return each if each.turned else each._replace(W=each.W.T.contiguous(), turned=True)


def check_divided(folder: Path, most: int) -> None:
    """Each file has at most `most` bytes of tensors or one tensor, and the index says what is where."""
    files = {path.name: read_file(path) for path in folder.glob("*.safetensors")}
    for tensors in files.values():
        assert len(tensors) == 1 or sum(len(content) for _, _, content in tensors.values()) <= most
    if len(files) == 1:
        assert list(files) == ["model.safetensors"]
        assert not (folder / "model.safetensors.index.json").exists()
        return
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: file for file, tensors in files.items() for name in tensors}
    assert index["metadata"]["total_size"] == sum(
        len(content) for tensors in files.values() for _, _, content in tensors.values()
    )


@settings(max_examples=5)
@given(models(), any_seed)
def test_the_order_of_the_modules_changes_no_byte(
    tmp_path_factory: Folders, model: dict[str, Layer], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("order")
    base, adapter = open_checkpoint(write_model(folder / "base", model)), adapter_of(model)
    turned = replace(
        adapter, layout=dict(reversed(adapter.layout.items())), updates=dict(reversed(adapter.updates.items()))
    )
    save(fuse(base, adapter), folder / "one")
    save(fuse(base, turned), folder / "other")
    assert tree(folder / "one") == tree(folder / "other")


WORK = """
import os
from adapterops.cli.main import run
for options, out in (([], "sum"), (["--ties", "--density", "0.5"], "ties"), (["--dtype", "float16", "--max-shard-size", "0.3kB"], "half")):
    assert run(["fuse", "base", "a", "b", *options, "-o", out, "--workers", os.environ["WORKERS"], "--no-sync"]) == 0
"""


def test_hash_seeds_and_workers_change_no_byte(tmp_path: Path) -> None:
    results = []
    for seed, workers in (("0", "1"), ("1", "3")):
        folder = tmp_path / seed
        write_pair(folder)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "WORKERS": workers}
        subprocess.run([sys.executable, "-c", WORK], cwd=folder, env=environment, check=True, capture_output=True)
        results.append({name: tree(folder / name) for name in ("sum", "ties", "half")})
    assert results[0] == results[1]
    assert len(results[0]["half"]) > 4
