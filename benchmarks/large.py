"""Large models: the plan of one of 405 B, and Ray beside threads."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from bench import HERE, Bench, measure, middle, tensor_bytes

WORKERS = 4


def planning(bench: Bench) -> None:
    measure(sys.executable, HERE / "sparse.py", bench.folder / "sparse", "405b")
    base, a = (bench.folder / "sparse" / name for name in ("base", "a"))
    (ours,) = bench.runs([sys.executable, HERE / "own_plan.py", base, a])
    what = "fuse --dry-run, 405B: 191 files, 882 modules, no torch"
    bench.note(f"{what}: whole process", middle(ours), "s", 3, ours=ours)
    bench.note(f"{what}: peak memory", middle(ours, "mb"), "MB", 200)


def spreading(bench: Bench) -> None:
    if importlib.util.find_spec("ray") is None:
        print("ray is not installed: its row is left out (pip install 'adapterops[ray]')")
        return
    base, a = bench.folder / "base4", bench.folder / "a4"
    measure(sys.executable, HERE / "shapes.py", base, "model", 96, "bfloat16", 0)
    measure(sys.executable, HERE / "shapes.py", a, "qwen4", 16, "float32", 0)
    beside_threads(bench, base, a)
    shutil.rmtree(base)
    base, a = bench.folder / "8b" / "base", bench.folder / "a8"
    measure(sys.executable, HERE / "sparse.py", base.parent, "8b")
    measure(sys.executable, HERE / "shapes.py", a, "llama", 16, "bfloat16", 0)
    beside_threads(bench, base, a, " of zeros, 8B")
    shutil.rmtree(base)


def beside_threads(bench: Bench, base: Path, a: Path, what: str = "") -> None:
    """What each process pays once, its imports and the opening of the inputs, is the less of the whole the larger the base is."""
    own = [[sys.executable, HERE / "own_ray.py", engine, WORKERS, base, a, "OUT"] for engine in ("threads", "ray")]
    threads, ray = bench.runs(*own)
    ratio, size = middle(ray, "inner") / middle(threads, "inner"), tensor_bytes(base)
    by = f"{WORKERS} processes of Ray / by {WORKERS} threads, without Ray's start, no fsync"
    ours, peer = ([{**run, "seconds": run["inner"]} for run in runs] for runs in (ray, threads))
    bench.note(f"fuse into {size / 1e9:.0f} GB bf16{what} by {by}", ratio, "x", 1.2, ours=ours, peer=peer)
    shutil.rmtree(bench.out(), ignore_errors=True)


def large(bench: Bench) -> None:
    planning(bench)
    spreading(bench)
