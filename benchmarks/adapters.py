"""Adapters in, adapter out: truncation, merging, and how long a command takes to start."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench import HERE, OURS, Bench, measure, middle, tensor_bytes
from shapes import LLAMA, QWEN, modules

CHECK_TORCH = "import sys; from adapterops.cli.main import run; code = run(sys.argv[1:]); sys.exit(code or int('torch' in sys.modules))"


COPY = """
import os, shutil, sys, time
begin = time.perf_counter()
shutil.copytree(*sys.argv[1:3])
if sys.argv[3] == "synced":
    for place in (*(os.path.join(sys.argv[2], name) for name in os.listdir(sys.argv[2])), sys.argv[2]):
        os.fsync(os.open(place, os.O_RDONLY))
print(f"{time.perf_counter() - begin:f}")
"""


def converting(bench: Bench, adapter: Path) -> None:
    """What writes every update anew, against copying the files: both until the disk has them, and neither. What the command
    takes for a small adapter is left out: its start. The copy is made twice, and the first does not count: each is to begin right
    after an output as large as its own was deleted (`fuse_beside_copy.py` says why).
    """
    small = bench.folder / "small"
    measure(sys.executable, HERE / "shapes.py", small, "small", 64, "bfloat16", 0)
    ways = ["normalize", "OF", "-o", "OUT"], ["convert", "OF", "--to", "mlx", "-o", "OUT"]
    for way in ways:
        command = [{"OF": adapter, "OUT": bench.out()}.get(part, part) for part in way]
        measure(sys.executable, "-c", CHECK_TORCH, *command)
    for how, sync in (("both synced", []), ("neither synced", ["--no-sync"])):
        starts, commands = (
            [[*OURS, *(of if part == "OF" else part for part in way), *sync] for way in ways] for of in (small, adapter)
        )
        copy = [sys.executable, "-c", COPY, adapter, "OUT", "cached" if sync else "synced"]
        *began, _, peer, first, second = bench.runs(*starts, copy, copy, *commands)
        for (name, *_), start, ours in zip(ways, began, (first, second), strict=True):
            what = f"{name} r 64, 8B, 224 modules"
            ratio = (middle(ours) - middle(start)) / middle(peer, "inner")
            bench.note(
                f"{what}: less the start / copying the files, {how}", ratio, "x", 2, ours=ours, peer=peer, start=start
            )
            if not sync:
                bench.note(f"{what}: whole command, without torch", middle(ours), "s", bytes=2 * tensor_bytes(adapter))
                bench.note(f"{what}: peak memory", middle(ours, "mb"), "MB", 100)


def dense_svds(adapter: Path, shapes: dict[str, tuple[int, int]]) -> tuple[float, dict[tuple[int, int], float]]:
    """Seconds of one SVD of ΔW for every module: each shape is measured once."""
    distinct: dict[tuple[int, int], str] = {}
    for module, shape in shapes.items():
        distinct.setdefault((min(shape), max(shape)), module)  # a matrix and its transpose cost the same
    seconds = {
        shape: measure(sys.executable, HERE / "peers/dense_svd.py", adapter, module)["inner"]
        for shape, module in distinct.items()
    }
    return sum(seconds[min(shape), max(shape)] for shape in shapes.values()), seconds


def truncation(bench: Bench, adapter: Path, shapes: dict[str, tuple[int, int]]) -> None:
    (whole,) = bench.runs([*OURS, "truncate", adapter, "--rank", "8", "-o", "OUT"])
    (alone,) = bench.runs([sys.executable, HERE / "own_truncate.py", adapter])
    peer, seconds = dense_svds(adapter, shapes)
    raw = {"ours": alone, "whole": whole, "peer_seconds": {str(list(shape)): each for shape, each in seconds.items()}}
    bench.note("truncate 64 -> 8, 224 modules: dense SVD / ours", peer / middle(alone, "inner"), "x", 2400, True, **raw)
    kohya = [measure(sys.executable, HERE / "peers/kohya_resize.py", adapter, bench.out(), 8)]  # minutes: once
    bench.note(
        "truncate 64 -> 8, 224 modules: kohya's route / ours, whole process",
        middle(kohya) / middle(whole),
        "x",
        ours=whole,
        peer=kohya,
        bytes=tensor_bytes(adapter) * 9 / 8,
    )
    bench.note("truncate 64 -> 8, 224 modules: whole command", middle(whole), "s", 1.7)
    bench.note("truncate 64 -> 8, 224 modules: peak memory", middle(whole, "mb"), "MB", 200)


def merging(bench: Bench, a: Path, b: Path) -> None:
    peft, torch_ties = HERE / "peers/peft_merge.py", HERE / "peers/torch_ties.py"
    ours, peer = bench.runs(
        [*OURS, "merge", a, b, "--linear", "--scale", "sum", "-o", "OUT"],
        [sys.executable, peft, a, b, "OUT", "cat", 24],
    )
    bench.note(
        "linear merge, 168 modules: PEFT cat / ours, whole process",
        middle(peer) / middle(ours),
        "x",
        15,
        True,
        ours=ours,
        peer=peer,
        bytes=2 * tensor_bytes(a, b),
    )
    bench.note("linear merge, 168 modules: peak memory", middle(ours, "mb"), "MB", 100)
    ties = [*OURS, "merge", a, b, "--ties", "--density", "0.2", "--scale", "sum", "--rank", "16", "-o", "OUT"]
    ours, plain, peer = bench.runs(
        ties, [sys.executable, torch_ties, a, b, "OUT"], [sys.executable, peft, a, b, "OUT", "ties_svd", 2]
    )
    scaled = 12 * middle(peer, "inner")
    bench.note(
        "TIES to rank 16: PEFT ties_svd (2 layers x 12) / ours",
        scaled / middle(ours),
        "x",
        28,
        True,
        ours=ours,
        peer=peer,
        bytes=tensor_bytes(a, b, a),
        flops=2 * 2 * 16 * sum(out * into for out, into in modules(**QWEN).values()),
    )
    bench.note(
        "TIES to rank 16: plain torch / ours, whole process", middle(plain) / middle(ours), "x", 4, True, peer=plain
    )
    bench.note("TIES to rank 16: whole command", middle(ours), "s", 60)
    bench.note("TIES to rank 16: peak memory", middle(ours, "mb"), "MB", 200)


CORE = ("even", "tsv", "iso-c", "iso-cts", "ctm", "svc", "pico", "wudi", "ace", "core-ties", "knots-ties")


def core(bench: Bench) -> None:
    """Methods in the joint core, which none of the peers has: eight adapters of rank 16 of an 8B model into one. Their code on
    whole matrices needs at least one SVD of each ΔW.
    """
    several = [bench.folder / f"of-eight-{seed}" for seed in range(8)]
    for seed, adapter in enumerate(several):
        measure(sys.executable, HERE / "shapes.py", adapter, "llama", 16, "bfloat16", seed)
    runs = bench.runs(*([*OURS, "merge", *several, f"--{name}", "--rank", "16", "-o", "OUT"] for name in CORE))
    for name, ours in zip(CORE, runs, strict=True):
        bench.note(f"{name} of eight adapters r 16, 8B: whole command", middle(ours), "s", 30, ours=ours)
        bench.note(f"{name} of eight adapters r 16, 8B: peak memory", middle(ours, "mb"), "MB", 600)
    peer, seconds = dense_svds(several[0], modules(**LLAMA))
    slowest = max(middle(ours) for ours in runs)
    raw = {"peer_seconds": {str(list(shape)): each for shape, each in seconds.items()}}
    what = "eight adapters r 16, 8B: one dense SVD of each ΔW (3 of 1792) / the slowest method"
    bench.note(what, len(several) * peer / slowest, "x", 500, True, **raw)
    (alone,) = bench.runs([sys.executable, HERE / "own_ties.py", *several[:2]])
    what = "TIES of two, 8B, the entries of a layer, trim included: a core's millions of entries a second"
    bench.note(what, 1 / middle(alone, "inner"), "M/s", 40, True, ours=alone)
    for adapter in several:
        shutil.rmtree(adapter)


def start(bench: Bench, adapter: Path) -> None:
    for arguments, target in ((["--help"], 0.2), (["show", adapter], 0.4)):
        measure(sys.executable, "-c", CHECK_TORCH, *arguments)
        (ours,) = bench.runs([*OURS, *arguments])
        bench.note(f"{arguments[0]}, without torch", middle(ours), "s", target, ours=ours)


def adapters(bench: Bench) -> None:
    a, b, large = (bench.folder / name for name in ("a", "b", "large"))
    for seed, (adapter, shape, rank, dtype) in enumerate(
        ((a, "qwen", 16, "float32"), (b, "qwen", 16, "float32"), (large, "llama", 64, "bfloat16"))
    ):
        measure(sys.executable, HERE / "shapes.py", adapter, shape, rank, dtype, seed)
    start(bench, large)
    converting(bench, large)
    merging(bench, a, b)
    truncation(bench, large, modules(**LLAMA))
