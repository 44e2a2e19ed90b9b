"""On a GPU: into 4 bits in its memory beside the floor and bitsandbytes, and from disk to disk beside the CPU; merges that are
cut to a rank, and large decompositions, beside the CPU.
"""

from __future__ import annotations

import sys

from bench import HERE, OURS, Bench, gpu_name, measure, middle

COPIED, CODED = 4, 2.5625
"""Bytes that move for each entry: 16 bits read and written; 16 bits read, 4 bits and a 64th of 32 written."""


MERGES = {
    "merge four adapters of rank 16 by TIES, cut to rank 64": ("--ties", "--rank", "64"),
    "merge four adapters of rank 16 by DELLA, cut to rank 64": ("--della", "--rank", "64"),
    "merge four adapters of rank 16 by TSV on all entries": ("--tsv", "--space", "delta"),
}
"""Methods on entries with the cut of what they make, and large singular value decompositions."""


def gpu(bench: Bench) -> None:
    if not gpu_name():
        raise SystemExit("torch finds no GPU: run this on a machine that has one, with a torch for it")
    copy, ours, peer = bench.runs(
        *([sys.executable, HERE / "own_gpu.py", work] for work in ("copy", "ours", "bitsandbytes"))
    )
    floor = middle(copy, "inner") * CODED / COPIED
    what = "NF4 of an 8B-shaped model in the memory of a GPU"
    bench.note(f"{what}: the bytes alone / ours", floor / middle(ours, "inner"), "x", ours=ours, copy=copy)
    bench.note(f"{what}: bitsandbytes / ours", middle(peer, "inner") / middle(ours, "inner"), "x", peer=peer)
    base = bench.folder / "base"
    measure(sys.executable, HERE / "shapes.py", base, "model", 24, "bfloat16", 0)
    command = [*OURS, "quantize", base, "--to", "nf4", "-o", "OUT"]
    here, there = bench.runs(command, [*command, "--device", "cuda"])
    bench.note(
        "quantize a checkpoint of 1 GB: CPU / GPU, whole process",
        middle(here) / middle(there),
        "x",
        cpu=here,
        gpu=there,
    )
    adapters = [bench.folder / name for name in ("a", "b", "c", "d")]
    for seed, adapter in enumerate(adapters):
        measure(sys.executable, HERE / "shapes.py", adapter, "qwen", 16, "float32", seed)
    for what, options in MERGES.items():
        command = [*OURS, "merge", *adapters, *options, "-o", "OUT"]
        here, there = bench.runs(command, [*command, "--device", "cuda"])
        bench.note(f"{what}: CPU / GPU, whole process", middle(here) / middle(there), "x", cpu=here, gpu=there)
