"""Adapters into models and out of them:
fusing, extraction, verification, beside PEFT, mergekit, `cp` and dense SVDs.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from bench import HERE, OURS, Bench, measure, middle, tensor_bytes
from shapes import QWEN, modules

LAYERS = 24
RANK = 16

ENTRIES = sum(out * into for out, into in modules(**QWEN).values())
"""Entries of all weights that an adapter changes."""


def fusing(bench: Bench, base: Path, a: Path) -> None:
    peft = [sys.executable, HERE / "peers/peft_fuse.py", base, a, "OUT"]
    floor = {"bytes": 2 * tensor_bytes(base) + tensor_bytes(a), "flops": 2 * RANK * ENTRIES}
    fuse = [*OURS, "fuse", base, a, "-o", "OUT"]
    ours, peer = bench.runs([*fuse, "--no-sync"], peft)
    bench.note(
        "fuse into 0.5B bf16: PEFT / ours, whole process, no fsync",
        middle(peer) / middle(ours),
        "x",
        7,
        True,
        ours=ours,
        peer=peer,
        **floor,
    )
    bench.note("fuse into 0.5B bf16: peak memory", middle(ours, "mb"), "MB", 200)
    axolotl = [sys.executable, HERE / "peers/axolotl_shards.py", base, a, "OUT"]
    ours, peer = bench.runs([*fuse, "--no-sync"], axolotl)
    what = "fuse into 0.5B bf16: axolotl's route / ours, whole process, no fsync"
    bench.note(what, middle(peer) / middle(ours), "x", ours=ours, peer=peer, **floor)
    ours, peer = bench.runs(fuse, [*peft, "--sync"])
    bench.note(
        "fuse into 0.5B bf16: PEFT / ours, whole process, both synced",
        middle(peer) / middle(ours),
        "x",
        1,
        True,
        ours=ours,
        peer=peer,
        **floor,
    )
    for how, sync, most in (("no fsync", [], 3), ("both synced", ["--sync"], 1.5)):
        command = [sys.executable, HERE / "fuse_beside_copy.py", base, a, bench.out(), 3 * bench.repeats, *sync]
        seconds = json.loads(subprocess.run(map(str, command), check=True, capture_output=True, text=True).stdout)
        ratio = median(seconds["ours"]) / median(seconds["peer"])
        bench.note(f"fuse without start-up: ours / cp -r, {how}", ratio, "x", most, **seconds, **floor)


def merging(bench: Bench, base: Path, a: Path, b: Path) -> None:
    if importlib.util.find_spec("mergekit") is None:
        print("mergekit is not installed: its row is left out (pip install mergekit)")
        return
    recipe = bench.folder / "ties.yaml"
    parameters = {"density": 0.2, "weight": 1.0}
    recipe.write_text(
        json.dumps(
            {
                "models": [{"model": f"{base}+{adapter}", "parameters": parameters} for adapter in (a, b)],
                "merge_method": "ties",
                "base_model": str(base),
                "dtype": "bfloat16",
            }
        )
    )
    (ours,) = bench.runs([*OURS, "fuse", base, a, b, "--ties", "--density", "0.2", "--scale", "sum", "-o", "OUT"])
    peer = measure(
        sys.executable,
        "-m",
        "mergekit.scripts.run_yaml",
        recipe,
        bench.out(),
        "--lora-merge-cache",
        bench.folder / "cache",
    )
    shutil.rmtree(bench.folder / "cache")
    bench.note(
        "fuse A B --ties: mergekit / ours, whole process",
        peer["seconds"] / middle(ours),
        "x",
        16,
        True,
        ours=ours,
        peer=[peer],
        bytes=2 * tensor_bytes(base) + tensor_bytes(a, b),
        flops=4 * RANK * ENTRIES,
    )
    bench.note("fuse A B --ties: peak memory", middle(ours, "mb"), "MB", 200)


def whole_models(bench: Bench, base: Path) -> None:
    """Three models of the base's shapes; what TIES costs does not depend on their numbers."""
    if importlib.util.find_spec("mergekit") is None:
        return
    tuned = [bench.folder / f"model{seed}" for seed in (1, 2, 3)]
    for seed, folder in enumerate(tuned, 1):
        measure(sys.executable, HERE / "shapes.py", folder, "model", LAYERS, "bfloat16", seed)
    parameters = {"density": 0.2, "weight": 1.0}
    recipe = bench.folder / "whole.json"
    models = [{"model": str(folder), "parameters": parameters} for folder in tuned]
    fields = {"models": models, "merge_method": "ties", "base_model": str(base), "dtype": "bfloat16"}
    recipe.write_text(json.dumps(fields))
    (ours,) = bench.runs([*OURS, "run", recipe, "-o", "OUT"])
    peer = measure(sys.executable, "-m", "mergekit.scripts.run_yaml", recipe, bench.out(), "--no-write-model-card")
    moved = tensor_bytes(base, base, *tuned)  # all are read, and one of their size is written
    what = "whole-model TIES of three 0.5B, one recipe: mergekit / ours"
    bench.note(what, peer["seconds"] / middle(ours), "x", 5, True, ours=ours, peer=[peer], bytes=moved)
    bench.note(f"{what}, peak memory", peer["mb"] / middle(ours, "mb"), "x", 8, True)


def extracting(bench: Bench, base: Path) -> None:
    tuned, wide = bench.folder / "tuned", bench.folder / "wide"
    measure(sys.executable, HERE / "shapes.py", tuned, "tuned", LAYERS, "bfloat16", 0)
    (ours,) = bench.runs([*OURS, "extract", tuned, "--base", base, "--rank", "32", "-o", "OUT"])
    shapes: dict[tuple[int, int], int] = {}
    for out, into in modules(**QWEN).values():
        shapes[min(out, into), max(out, into)] = shapes.get((min(out, into), max(out, into)), 0) + 1
    seconds = {shape: measure(sys.executable, HERE / "peers/dense_extract.py", *shape)["inner"] for shape in shapes}
    peer = sum(count * seconds[shape] for shape, count in shapes.items())
    bench.note(
        "extract rank 32 from 0.5B: dense SVDs / ours, whole command",
        peer / middle(ours),
        "x",
        6,
        True,
        ours=ours,
        peer_seconds=peer,
        bytes=tensor_bytes(base, tuned),
    )
    (own,) = bench.runs([sys.executable, HERE / "own_extract.py", "4096", "4096"])
    peer = measure(sys.executable, HERE / "peers/dense_extract.py", 4096, 4096)["inner"]
    bench.note(
        "extract rank 32 from 4096 x 4096: dense SVD / ours",
        peer / middle(own, "inner"),
        "x",
        30,
        True,
        ours=own,
        peer_seconds=peer,
    )
    error = measure(sys.executable, HERE / "own_extract.py", 896, 4864, "--error")["inner"]
    bench.note("extract rank 32: error / that of the best rank 32", error, "x", 1.01)
    shutil.rmtree(tuned)
    shutil.rmtree(wide, ignore_errors=True)


def verifying(bench: Bench, base: Path, a: Path) -> None:
    fused = bench.folder / "fused"
    measure(*OURS, "fuse", base, a, "-o", fused)
    ours, peer = bench.runs(
        [*OURS, "verify", fused, "--base", base, "--adapter", a], [sys.executable, HERE / "peers/read.py", base, fused]
    )
    bench.note(
        "verify: ours / reading both checkpoints with safetensors",
        middle(ours) / middle(peer),
        "x",
        3,
        ours=ours,
        peer=peer,
        bytes=tensor_bytes(base, fused, a),
        flops=2 * RANK * ENTRIES,
    )
    (ours,) = bench.runs([*OURS, "diagnose", fused, "--base", base, "--adapter", a])
    bench.note("diagnose a merge of 0.5B bf16: whole command", middle(ours), "s", 5, ours=ours)
    bench.note("diagnose a merge of 0.5B bf16: peak memory", middle(ours, "mb"), "MB", 300)


def models(bench: Bench) -> None:
    base, a, b = (bench.folder / name for name in ("base", "a", "b"))
    measure(sys.executable, HERE / "shapes.py", base, "model", LAYERS, "bfloat16", 0)
    for seed, adapter in enumerate((a, b)):
        measure(sys.executable, HERE / "shapes.py", adapter, "qwen", 16, "float32", seed)
    subprocess.run(["sync", "-f", str(bench.folder)], check=False)
    fusing(bench, base, a)
    verifying(bench, base, a)
    extracting(bench, base)
    merging(bench, base, a, b)
    whole_models(bench, base)
