"""What `fuse` does with files, and what it could do: copies by the kernel, and reads past the system's cache."""

from __future__ import annotations

import sys

from bench import HERE, Bench, middle


def disk(bench: Bench) -> None:
    ways = ("memory", "kernel", "buffered", "direct")
    runs = bench.runs(*([sys.executable, HERE / "own_copy.py", bench.folder, way] for way in ways))
    memory, kernel, buffered, direct = (middle(each, "inner") for each in runs)
    what = "0.5 GB"
    bench.note(f"{what}, copied by the kernel and hashed / read, hashed, written: the copy alone", kernel / memory, "x")
    bench.note(f"{what}, read from disk and hashed, direct / through the cache: the read alone", direct / buffered, "x")
