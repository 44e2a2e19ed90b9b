"""Large models: the plan of one of 405 B, and Ray beside threads."""

from __future__ import annotations

import importlib.util
import shutil
import sys

from bench import HERE, Bench, measure, middle

WORKERS = 4


def planning(bench: Bench) -> None:
    measure(sys.executable, HERE / "sparse.py", bench.folder / "sparse")
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
    own = [[sys.executable, HERE / "own_ray.py", engine, WORKERS, base, a, "OUT"] for engine in ("threads", "ray")]
    threads, ray = bench.runs(*own)
    what = f"fuse into 3 GB bf16 by {WORKERS} processes of Ray / by {WORKERS} threads, without Ray's start, no fsync"
    ratio = middle(ray, "inner") / middle(threads, "inner")
    bench.note(what, ratio, "x", 1.2, threads=threads, ray=ray)
    shutil.rmtree(base)


def large(bench: Bench) -> None:
    planning(bench)
    spreading(bench)
