"""Speed and memory, ours and the peers' in one run: `python benchmarks/run.py [PART...] [--quick]`, or `make bench`.

Written to benchmarks/results, part by part: what needs a GPU to gpu.json, and only where torch finds one. On an x86
processor with instructions for SHA, `OPENSSL_ia32cap=:~0x20000000` hides these from every process: what is measured then
stands in cpu-without-sha.json.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from adapters import adapters, core
from bench import HERE, MASK, Bench, gpu_name, machine
from disk import disk
from gpu import gpu
from large import large
from memory import memory
from models import models
from quantized import quantized
from scaling import scaling
from seeing import seeing
from wire import wire

import adapterops

PARTS = {
    "adapters": adapters,
    "core": core,
    "models": models,
    "quantized": quantized,
    "seeing": seeing,
    "large": large,
    "scaling": scaling,
    "memory": memory,
    "wire": wire,
    "disk": disk,
    "gpu": gpu,
}


def main() -> None:
    compileall.compile_dir(Path(adapterops.__file__).parent, quiet=2)  # as pip does for the peers when it installs them
    quick = "--quick" in sys.argv
    chosen = [part for part in PARTS if part in sys.argv] or [part for part in PARTS if part != "gpu" or gpu_name()]
    if (
        len(chosen) > 1
    ):  # each in a process of its own: what a child is said to have held at most begins with its parent's
        flags = ["--quick"] if quick else []
        done = [subprocess.run([sys.executable, __file__, part, *flags], check=False).returncode for part in chosen]
        sys.exit(max(done))
    missed = 0
    for part in chosen:
        cpu = "cpu-without-sha.json" if MASK in os.environ else "cpu.json"
        file = HERE / "results" / ("gpu.json" if part == "gpu" else cpu)
        results = json.loads(file.read_text()) if file.exists() else {}
        with tempfile.TemporaryDirectory() as name:
            bench = Bench(Path(name), 1 if quick else 3)
            PARTS[part](bench)
            about = machine(Path(name))
        results[part] = {"machine": about, "repeats": bench.repeats, "figures": bench.figures}
        missed += sum(not figure["holds"] for figure in bench.figures)
        file.write_text(json.dumps(results, indent=2) + "\n")
    sys.exit(min(missed, 1))


if __name__ == "__main__":
    main()
