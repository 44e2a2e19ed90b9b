"""Peak memory of every command that reads weights, beyond what its libraries take, against the `--memory` that it had."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import HERE, OURS, Bench, measure, middle

LIMIT = 200
"""MB, with four workers, where there is no limit."""

LIBRARIES = "import numpy, threadpoolctl, blake3, safetensors, adapterops.cli.main"


def memory(bench: Bench) -> None:
    base, tuned, a, b = (bench.folder / name for name in ("base", "tuned", "a", "b"))
    measure(sys.executable, HERE / "shapes.py", base, "model", 24, "bfloat16", 0)
    measure(sys.executable, HERE / "shapes.py", tuned, "tuned", 24, "bfloat16", 0)
    for seed, adapter in enumerate((a, b)):
        measure(sys.executable, HERE / "shapes.py", adapter, "qwen", 16, "float32", seed)
    fused, nf4 = bench.folder / "fused", bench.folder / "base-nf4"
    measure(*OURS, "fuse", base, a, "-o", fused)
    measure(*OURS, "quantize", base, "--to", "nf4", "-o", nf4)
    page = bench.folder / "page.html"
    ties = ("--ties", "--density", "0.2")
    commands: list[tuple[list[object], bool]] = [
        (["show", a, "--spectrum"], False),
        (["compare", a, b], False),
        (["report", a, b, "-o", page, "--force"], False),
        (["truncate", a, "--rank", "8", "-o", "OUT"], False),
        (["merge", a, b, *ties, "--rank", "16", "-o", "OUT"], False),
        (["fuse", base, a, "-o", "OUT"], False),
        (["fuse", base, a, b, *ties, "-o", "OUT"], False),
        (["unfuse", fused, a, "-o", "OUT"], False),
        (["extract", tuned, "--base", base, "--rank", "32", "-o", "OUT"], False),
        (["verify", fused, "--base", base, "--adapter", a], False),
        (["diagnose", fused, "--base", base, "--adapter", a], False),
        (["quantize", base, "--to", "nf4", "-o", "OUT"], True),
        (["dequantize", nf4, "-o", "OUT"], True),
        (["fuse", nf4, a, "--rounding", "stochastic", "-o", "OUT"], True),
    ]
    libraries = {
        torch: measure(sys.executable, "-c", LIBRARIES + ", torch.linalg" * torch)["mb"] for torch in (False, True)
    }
    for command, torch in commands:
        (ours,) = bench.runs([*OURS, *command, "--workers", "4", "--memory", f"{LIMIT}MB"])
        words = " ".join(Path(str(word)).name for word in command if word not in ("-o", "OUT", "--force"))
        beyond = middle(ours, "mb") - libraries[torch]
        bench.note(f"{words}: peak memory beyond libraries", beyond, "MB", LIMIT, ours=ours, libraries=libraries[torch])
