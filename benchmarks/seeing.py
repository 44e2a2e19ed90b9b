"""A report about two adapters of an 8B model."""

from __future__ import annotations

import sys

from bench import HERE, OURS, Bench, measure, middle


def seeing(bench: Bench) -> None:
    a, b = bench.folder / "a", bench.folder / "b"
    for seed, adapter in enumerate((a, b)):
        measure(sys.executable, HERE / "shapes.py", adapter, "llama", 16, "bfloat16", seed)
    page = bench.folder / "report.html"
    (ours,) = bench.runs([*OURS, "report", a, b, "-o", page, "--force"])
    bench.note("report on a pair of 8B, rank 16, 224 modules: whole command", middle(ours), "s", 20, ours=ours)
    bench.note("report on a pair of 8B: peak memory", middle(ours, "mb"), "MB", 600)
    bench.note("report on a pair of 8B: size of the page", page.stat().st_size / 1e6, "MB", 3)
