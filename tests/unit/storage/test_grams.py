"""Files of Gram matrices."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.errors import InputError
from adapterops.storage.grams import MARK, check_gram, grams_file, holds_grams


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


def test_products_of_inputs_are_a_gram_matrix() -> None:
    x = np.random.default_rng(0).standard_normal((7, 2000)).astype("float32")
    for some in (x, 0 * x, x[:, :1], x * np.where(np.arange(2000) % 3, 1e-20, 1e9).astype("float32")):
        check_gram(some.T @ some)


@pytest.mark.parametrize(
    "change",
    [lambda g: g * -1, lambda g: g + 0.1 * np.tri(len(g)), lambda g: g - 2 * np.diag(np.diag(g)), lambda g: g / 0],
)
def test_what_is_no_gram_matrix(change: Any) -> None:
    x = np.random.default_rng(0).standard_normal((70, 5)).astype("float32")
    with np.errstate(all="ignore"), pytest.raises(InputError, match="adapterops gram"):
        check_gram(change(x.T @ x / 70))
