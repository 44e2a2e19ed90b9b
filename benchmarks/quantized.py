"""Into 4 bits and out of them, beside bitsandbytes and transformers."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import HERE, OURS, Bench, measure, middle, tensor_bytes

KERNELS = [
    ("quantize", "NF4 quantize bf16 4096 x 14336: bitsandbytes / ours", 6),
    ("fuse", "NF4 + BA -> NF4, 4096 x 14336: bitsandbytes / ours", 12),
    ("dequantize", "NF4 -> bf16, 4096 x 14336: bitsandbytes / ours", 0.8),
]


def quantized(bench: Bench) -> None:
    for work, what, target in KERNELS:
        ours, peer = bench.runs(
            [sys.executable, HERE / "own_quantize.py", work], [sys.executable, HERE / "peers/bnb_quantize.py", work]
        )
        bench.note(what, middle(peer, "inner") / middle(ours, "inner"), "x", target, True, ours=ours, peer=peer)
    base = bench.folder / "base"
    measure(sys.executable, HERE / "shapes.py", base, "model", 24, "bfloat16", 0)
    whole(bench, base)


def whole(bench: Bench, base: Path) -> None:
    ours, peer = bench.runs(
        [*OURS, "quantize", base, "--to", "nf4", "-o", "OUT"],
        [sys.executable, HERE / "peers/transformers_quantize.py", base, "OUT"],
    )
    moved = tensor_bytes(base, bench.folder / "out")  # what transformers wrote is as large as ours
    what = "quantize a checkpoint of 1 GB"
    bench.note(
        f"{what}: transformers / ours, whole process",
        middle(peer) / middle(ours),
        "x",
        5,
        True,
        ours=ours,
        peer=peer,
        bytes=moved,
    )
    bench.note(f"{what}: peak memory", middle(ours, "mb"), "MB", 500)
