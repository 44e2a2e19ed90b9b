"""More shards than a process may have open, files next to a model that are larger than the memory."""

from __future__ import annotations

import filecmp
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from corpus import write_adapter
from safetensors.numpy import save_file
from tiny_models import write_base, write_tuned

GIGABYTE = 1 << 30


def command(folder: Path, *arguments: str, files: int = 0, memory: int = 0) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    line = [sys.executable, "-m", "adapterops", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, preexec_fn=limit, timeout=120)


def test_many_shards(tmp_path: Path) -> None:
    base, shards, where = tmp_path / "base", 100, {}
    base.mkdir()
    for index in range(shards):
        name = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        tensor = f"model.layers.{index}.q_proj.weight"
        save_file({tensor: np.ones((12, 8), np.float32)}, base / name, metadata={"format": "pt"})
        where[tensor] = name
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    write_adapter(tmp_path / "a", modules=["model.layers.7.q_proj"])
    ended = command(tmp_path, "fuse", "base", "a", "-o", "out", "--no-sync", files=60)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == shards
    ended = command(tmp_path, "verify", "out", "--base", "base", "--adapter", "a", files=60)
    assert ended.returncode == 0, ended.stderr


def test_a_large_file_next_to_a_model_is_streamed(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    with open(tmp_path / "base/data.tar", "wb") as file:
        file.truncate(GIGABYTE)
    ended = command(tmp_path, "fuse", "base", "a", "-o", "out", "--no-sync", memory=GIGABYTE)
    assert ended.returncode == 0, ended.stderr
    assert filecmp.cmp(tmp_path / "out/data.tar", tmp_path / "base/data.tar", shallow=False)
