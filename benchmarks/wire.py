"""A model that goes to a Hub on this machine while it is made: bytes over the wire, and the most that the disk held."""

from __future__ import annotations

import json
import subprocess
import sys

from bench import HERE, Bench, measure, tensor_bytes


def wire(bench: Bench) -> None:
    base, a = bench.folder / "base", bench.folder / "a"
    measure(sys.executable, HERE / "shapes.py", base, "model", 8, "bfloat16", 0)
    measure(sys.executable, HERE / "shapes.py", a, "qwen-third", 16, "float32", 0)
    own = [sys.executable, HERE / "own_wire.py", base, a, bench.folder / "work"]
    found = json.loads(subprocess.run(list(map(str, own)), check=True, capture_output=True, text=True).stdout)
    what = "fuse hf://base a --push"
    bench.note(f"{what}: bytes of tensors sent / changed", found["sent"] / found["changed"], "x", 1.05, **found)
    bench.note(f"{what}: bytes of tensors read / in the base", found["read"] / tensor_bytes(base), "x", 1.05)
    bench.note(f"{what}: most that the disk held / largest file", found["disk"] / found["largest"], "x", 1.05)
    bench.note(f"{what}: commits", found["commits"], "", 1)
