"""How time and memory grow: with the model, adapters, ranks and workers."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench import HERE, OURS, Bench, curve, measure, middle, tensor_bytes

LAYERS = 24
SIZES, ADAPTERS, RANKS, WORKERS = (1, 2, 4), (2, 4, 8), (16, 32, 64, 128), (1, 2)


def sizes(bench: Bench, base: Path, a: Path) -> None:
    """The base, and bases of two and four times its layers; and a copy of each, for disks are not linear either."""
    runs, copies, moved = [], [], []
    for larger in SIZES:
        model, adapter = base, a
        if larger > 1:
            model, adapter = bench.folder / f"base{larger}", bench.folder / f"a{larger}"
            measure(sys.executable, HERE / "shapes.py", model, "model", larger * LAYERS, "bfloat16", 0)
            measure(sys.executable, HERE / "shapes.py", adapter, f"qwen{larger}", 16, "float32", 0)
        ours, copied = bench.runs([*OURS, "fuse", model, adapter, "-o", "OUT", "--no-sync"], ["cp", "-r", model, "OUT"])
        runs.append(ours)
        copies.append(copied)
        moved.append(tensor_bytes(model))
        if larger > 1:
            shutil.rmtree(model)
    found, memory = curve("GB of the base", [size / 1e9 for size in moved], runs), [middle(each, "mb") for each in runs]

    def steeper(those: list[list[dict[str, float]]]) -> float:
        """Seconds per byte from the second size to the third / from the first to the second."""
        times = list(map(middle, those))
        slopes = [(times[i + 1] - times[i]) / (moved[i + 1] - moved[i]) for i in (0, 1)]
        return slopes[1] / slopes[0]

    what = "base of 24, 48, 96 layers"
    bench.note(f"fuse, {what}: seconds per byte, 2-4 / 1-2", steeper(runs), "x", curve=found)
    bench.note(f"fuse / cp -r, {what}: seconds per byte, 2-4 / 1-2", steeper(runs) / steeper(copies), "x", 1.3)
    bench.note(f"fuse, {what}: peak memory, largest / smallest", max(memory) / min(memory), "x", 1.1)


def adapters(bench: Bench) -> None:
    several = [bench.folder / f"several-{seed}" for seed in range(max(ADAPTERS))]
    for seed, adapter in enumerate(several):
        measure(sys.executable, HERE / "shapes.py", adapter, "qwen", 16, "float32", seed)
    commands = ([*OURS, "merge", *several[:many], "--tsv", "--rank", "16", "-o", "OUT"] for many in ADAPTERS)
    found = curve("adapters of rank 16", ADAPTERS, bench.runs(*commands))
    bench.note(
        "TSV-Merge of 8 adapters / of 2, to rank 16", found["seconds"][-1] / found["seconds"][0], "x", curve=found
    )
    for adapter in several:
        shutil.rmtree(adapter)


def ranks(bench: Bench) -> None:
    of = [bench.folder / f"rank-{rank}" for rank in RANKS]
    for rank, adapter in zip(RANKS, of, strict=True):
        measure(sys.executable, HERE / "shapes.py", adapter, "llama", rank, "bfloat16", 0)
    found = curve("rank", RANKS, bench.runs(*([*OURS, "truncate", each, "--rank", "8", "-o", "OUT"] for each in of)))
    what = "truncate to rank 8, 224 modules of 8B: from rank 128 / from 16"
    bench.note(what, found["seconds"][-1] / found["seconds"][0], "x", curve=found)
    for adapter in of:
        shutil.rmtree(adapter)


MERGE = ("--ties", "--density", "0.2", "--scale", "sum", "--rank", "16", "-o", "OUT")
"""What computes more than it reads: TIES of the entries, and their best approximation."""


def workers(bench: Bench, a: Path) -> None:
    """Of half a billion parameters, of which a third of the time of two processors is their start and what is said of the merge; and
    what two processors of this machine do, where two processes do the same at once.
    """
    b = bench.folder / "b"
    measure(sys.executable, HERE / "shapes.py", b, "qwen", 16, "float32", 1)
    command = [*OURS, "merge", a, b, *MERGE]
    alone = [*command, "--workers", "1"]
    *runs, twice = bench.runs(alone, [*command, "--workers", "2"], [sys.executable, HERE / "twice.py", *alone])
    one, two = map(middle, runs)
    found = curve("workers", WORKERS, runs)
    bench.note("TIES to rank 16: one worker / two, whole process", one / two, "x", 1.8, True, curve=found)
    what = "TIES to rank 16: twice one process / two processes at once, which is what the processors give"
    bench.note(what, 2 * one / middle(twice), "x")


def large_workers(bench: Bench) -> None:
    """The same of 4 of the 32 layers of 8B, of which the start is a small part, and what the processors give it."""
    pair = [bench.folder / f"large-{seed}" for seed in (0, 1)]
    for seed, adapter in enumerate(pair):
        measure(sys.executable, HERE / "shapes.py", adapter, "llama-eighth", 16, "bfloat16", seed)
    merge = [*OURS, "merge", *pair, *MERGE]
    alone = [*merge, "--workers", "1"]
    hows = (("--workers", "2"), ("--workers", "2", "--engine", "processes"))
    twice = [sys.executable, HERE / "twice.py", *alone]
    runs = bench.runs(alone, *([*merge, *how] for how in hows), twice)
    one, threads, processes, both = map(middle, runs)
    what = "TIES to rank 16 of 4 layers of 8B, whole process: one worker"
    bench.note(f"{what} / two threads", one / threads, "x", 1.8, True, ours=runs[1], peer=runs[0])
    bench.note(f"{what} / two processes", one / processes, "x", 1.8, True, ours=runs[2], peer=runs[0])
    bench.note(f"{what}, twice / two at once, which is what the processors give", 2 * one / both, "x")
    for adapter in pair:
        shutil.rmtree(adapter)


def scaling(bench: Bench) -> None:
    base, a = bench.folder / "base", bench.folder / "a"
    measure(sys.executable, HERE / "shapes.py", base, "model", LAYERS, "bfloat16", 0)
    measure(sys.executable, HERE / "shapes.py", a, "qwen", 16, "float32", 0)
    sizes(bench, base, a)
    adapters(bench)
    ranks(bench)
    workers(bench, a)
    large_workers(bench)
