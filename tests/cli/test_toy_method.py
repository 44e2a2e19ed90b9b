"""A method of another package, which nothing here knows of: an entry point is all it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from corpus import write_adapter

from adapterops import open_adapter

TOY = '''
from adapterops.methods import Parameter, method


@method("toy", source="an example", acts="updates", sharpness=Parameter("How much is kept of the sum.", low=0, high=10))
def toy(updates, weights, *, sharpness=1.0):
    """The weighted sum, times the sharpness."""
    total = weights[0] * updates[0]
    for weight, update in zip(weights[1:], updates[1:], strict=True):
        total = total + weight * update
    return sharpness * total
'''

CHECK = "from adapterops.testing import check_method; check_method('toy', range(2))"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    info = tmp_path / "packages/toy-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "packages/toy_method.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[adapterops.methods]\ntoy = toy_method\n")
    return tmp_path / "packages"


def test_a_method_of_another_package_is_used(packages: Path, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        write_adapter(tmp_path / name)

    def python(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(packages)}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = python("-m", "adapterops", "merge", "--help")
    assert "--sharpness" in shown
    assert "How much is kept of the sum" in shown
    assert "The weighted sum, times the sharpness" in python("-m", "adapterops", "methods")
    python("-m", "adapterops", "merge", "a", "b", "--toy", "--sharpness", "2", "-w", "1", "-w", "1", "-o", "merged")
    python("-m", "adapterops", "calc", "toy(a, b, sharpness=2)", "a=a", "b=b", "-o", "calculated")
    python("-m", "adapterops", "calc", "2*a + 2*b", "a=a", "b=b", "-o", "expected")
    merged, calculated, expected = (products(tmp_path / name) for name in ("merged", "calculated", "expected"))
    for module, update in expected.items():
        torch.testing.assert_close(merged[module], update, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(calculated[module], update, rtol=1e-4, atol=1e-5)
    python("-c", CHECK)


def products(folder: Path) -> dict[str, torch.Tensor]:
    """ΔW of each module."""
    adapter = open_adapter(folder)
    return {module: torch.from_numpy(adapter.updates[module].dense()) for module in adapter.layout}
