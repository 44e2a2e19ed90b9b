"""Files of Gram matrices."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.storage.grams import MARK, grams_file, holds_grams


def test_a_file_says_what_it_is_and_opens_as_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gram = np.arange(9, dtype=np.float32).reshape(3, 3)
    data = grams_file({"layers.0.q_proj": gram.T}, 12)
    assert MARK in data[:1024]
    (tmp_path / "grams.safetensors").write_bytes(data)
    found = open_checkpoint(tmp_path / "grams.safetensors")
    assert found.layout["layers.0.q_proj"].shape == (3, 3)
    assert np.array_equal(found.tensors["layers.0.q_proj"].numpy(), gram.T)
    assert holds_grams(tmp_path / "grams.safetensors")
    assert not holds_grams(tmp_path)
    assert run(["show", str(tmp_path / "grams.safetensors")]) == 0
    assert "grams.safetensors: Gram matrices of inputs, 1 tensor" in capsys.readouterr().out


def test_the_same_matrices_are_the_same_bytes() -> None:
    """In every process: the library that owns the format puts what a header says in an order of its own."""
    code = """
import sys
import numpy as np
from adapterops.storage.grams import grams_file
sys.stdout.buffer.write(grams_file({"b": np.eye(3, dtype=np.float32), "a": np.ones((2, 2), np.float32)}, 5))
"""
    found = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)]
    ours = grams_file({"a": np.ones((2, 2), np.float32), "b": np.eye(3, dtype=np.float32)}, 5)
    assert found == [ours] * 3
