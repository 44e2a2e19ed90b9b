"""What `fuse` does with files, and what it could do: copies by the kernel, and reads past the system's cache; and a base
on a disk that answers late, as one on a network does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import HERE, OURS, Bench, measure, middle, tensor_bytes

SPEED, DELAY = 200, 1
"""Of the slow disk: MB a second, and milliseconds before each read."""

PATIENCE = 10


@contextmanager
def slowly(folder: Path, place: Path) -> Iterator[None]:
    """The folder, mounted at a place that is as slow as that."""
    place.mkdir()
    process = subprocess.Popen([sys.executable, HERE / "slow_disk.py", folder, place, str(SPEED), str(DELAY)])
    end = time.monotonic() + PATIENCE
    while not os.path.ismount(place) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def network(bench: Bench) -> None:
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        print("the slow disk needs root and /dev/fuse: its rows are left out")
        return
    base, a, place = (bench.folder / name for name in ("base", "a", "slow"))
    measure(sys.executable, HERE / "shapes.py", base, "model", 24, "bfloat16", 0)
    measure(sys.executable, HERE / "shapes.py", a, "qwen", 16, "float32", 0)
    with slowly(base, place):
        if not os.path.ismount(place):
            print("the slow disk could not be mounted: its rows are left out")
            return
        fuse = [*OURS, "fuse", place, a, "-o", "OUT", "--no-sync"]
        copied, one, two = bench.runs(["cp", "-r", place, "OUT"], [*fuse, "--workers", "1"], [*fuse, "--workers", "2"])
    what = f"fuse 0.5B bf16 from a disk of {SPEED} MB/s and {DELAY} ms a read (FUSE)"
    bench.note(f"{what}: one worker / cp -r", middle(one) / middle(copied), "x", ours=one, peer=copied)
    bench.note(f"{what}: two workers / cp -r", middle(two) / middle(copied), "x", ours=two, peer=copied)
    bench.note(f"{what}: cp -r / what the disk needs", middle(copied) * SPEED * 1e6 / tensor_bytes(base), "x")


def disk(bench: Bench) -> None:
    ways = ("memory", "kernel", "buffered", "direct")
    runs = bench.runs(*([sys.executable, HERE / "own_copy.py", bench.folder, way] for way in ways))
    memory, kernel, buffered, direct = (middle(each, "inner") for each in runs)
    what = "0.5 GB"
    bench.note(f"{what}, copied by the kernel and hashed / read, hashed, written: the copy alone", kernel / memory, "x")
    bench.note(f"{what}, read from disk and hashed, direct / through the cache: the read alone", direct / buffered, "x")
    network(bench)
