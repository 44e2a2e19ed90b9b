"""Engines are found by their files, and what they need is imported when they work."""

from __future__ import annotations

import subprocess
import sys

from adapterops.engine import ray
from adapterops.engine.registry import ENGINES


def test_ours() -> None:
    assert ENGINES["ray"] is ray.run


def test_names_need_no_cluster() -> None:
    code = "import sys; from adapterops.engine.registry import ENGINES; list(ENGINES); assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
