"""Speed and memory, ours and the peers' in one run: `python benchmarks/run.py [--quick]`, or `make bench`.

Every figure is a fresh process; ours and the peer's alternate; medians are compared. Written to benchmarks/results/cpu.json.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from shapes import LLAMA, modules

HERE = Path(__file__).parent
OURS = [sys.executable, "-m", "adapterops"]
CHECK_TORCH = "import sys; from adapterops.cli.main import run; code = run(sys.argv[1:]); sys.exit(code or int('torch' in sys.modules))"


def measure(*command: object) -> dict[str, float]:
    """Seconds, peak memory in MB and, where it prints one, the last number of one process."""
    print("  ...", *(str(part).rpartition("/")[2] for part in command[1:]), file=sys.stderr)
    begin = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    printed, errors = process.stdout.read(), process.stderr.read()  # type: ignore[union-attr]  # both are pipes
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{command} failed:\n{printed}{errors}")
    last = printed.split()[-1] if printed.split() else ""
    return {"seconds": seconds, "mb": usage.ru_maxrss * 1024 / 1e6, **({"inner": float(last)} if last.replace(".", "").isdigit() else {})}


class Bench:
    def __init__(self, folder: Path, repeats: int) -> None:
        self.folder, self.repeats = folder, repeats
        self.figures: list[dict[str, Any]] = []

    def out(self) -> Path:
        """A place to write to, where nothing is."""
        place = self.folder / "out"
        shutil.rmtree(place, ignore_errors=True)
        return place

    def runs(self, *commands: list[object]) -> list[list[dict[str, float]]]:
        """Each command `repeats` times, in turn."""
        results: list[list[dict[str, float]]] = [[] for _ in commands]
        for _ in range(self.repeats):
            for command, result in zip(commands, results, strict=True):
                place = self.out()
                result.append(measure(*[place if part == "OUT" else part for part in command]))
        return results

    def note(self, what: str, value: float, unit: str, target: float, at_least: bool = False, **raw: Any) -> None:
        holds = value >= target if at_least else value <= target
        self.figures.append({"what": what, "value": value, "unit": unit, "target": target, "at_least": at_least, "holds": holds, **raw})
        bound = f"{'>=' if at_least else '<='} {target:g} {unit}"
        print(f"{what:64} {value:9.3g} {unit:3} {bound:12} {'ok' if holds else 'MISSED'}", flush=True)


def middle(results: list[dict[str, float]], what: str = "seconds") -> float:
    return median(result[what] for result in results)


def truncation(bench: Bench, adapter: Path, shapes: dict[str, tuple[int, int]]) -> None:
    (whole,) = bench.runs([*OURS, "truncate", adapter, "--rank", "8", "-o", "OUT"])
    (alone,) = bench.runs([sys.executable, HERE / "own_truncate.py", adapter])
    distinct: dict[tuple[int, int], str] = {}
    for module, shape in shapes.items():
        distinct.setdefault((min(shape), max(shape)), module)  # a matrix and its transpose cost the same
    seconds = {shape: measure(sys.executable, HERE / "peers/dense_svd.py", adapter, module)["inner"] for shape, module in distinct.items()}
    peer = sum(seconds[min(shape), max(shape)] for shape in shapes.values())
    raw = {"ours": alone, "whole": whole, "peer_seconds": {str(list(shape)): each for shape, each in seconds.items()}}
    bench.note("truncate 64 -> 8, 224 modules: dense SVD / ours", peer / middle(alone, "inner"), "x", 700, True, **raw)
    bench.note("truncate 64 -> 8, 224 modules: whole command", middle(whole), "s", 8)
    bench.note("truncate 64 -> 8, 224 modules: peak memory", middle(whole, "mb"), "MB", 700)


def merging(bench: Bench, a: Path, b: Path) -> None:
    peft, torch_ties = HERE / "peers/peft_merge.py", HERE / "peers/torch_ties.py"
    ours, peer = bench.runs([*OURS, "merge", a, b, "--linear", "-o", "OUT"], [sys.executable, peft, a, b, "OUT", "cat", 24])
    bench.note("linear merge, 168 modules: PEFT cat / ours, whole process", middle(peer) / middle(ours), "x", 4, True, ours=ours, peer=peer)
    ties = [*OURS, "merge", a, b, "--ties", "--density", "0.2", "--rank", "16", "-o", "OUT"]
    ours, plain, peer = bench.runs(ties, [sys.executable, torch_ties, a, b, "OUT"], [sys.executable, peft, a, b, "OUT", "ties_svd", 2])
    scaled = 12 * middle(peer, "inner")
    bench.note("TIES to rank 16: PEFT ties_svd (2 layers x 12) / ours", scaled / middle(ours), "x", 20, True, ours=ours, peer=peer)
    bench.note("TIES to rank 16: plain torch / ours, whole process", middle(plain) / middle(ours), "x", 4, True, peer=plain)
    bench.note("TIES to rank 16: whole command", middle(ours), "s", 60)
    bench.note("TIES to rank 16: peak memory", middle(ours, "mb"), "MB", 600)


def start(bench: Bench, adapter: Path) -> None:
    for arguments, target in ((["--help"], 0.2), (["show", adapter], 0.4)):
        measure(sys.executable, "-c", CHECK_TORCH, *arguments)
        (ours,) = bench.runs([*OURS, *arguments])
        bench.note(f"{arguments[0]}, without torch", middle(ours), "s", target, ours=ours)


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    versions = {name: version(name) for name in ("torch", "peft", "transformers", "numpy")}
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **versions,
    }


def main() -> None:
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), 1 if quick else 3)
        a, b, large = (bench.folder / name for name in ("a", "b", "large"))
        for seed, (adapter, shape, rank, dtype) in enumerate(
            ((a, "qwen", 16, "float32"), (b, "qwen", 16, "float32"), (large, "llama", 64, "bfloat16"))
        ):
            measure(sys.executable, HERE / "shapes.py", adapter, shape, rank, dtype, seed)
        start(bench, large)
        merging(bench, a, b)
        truncation(bench, large, modules(**LLAMA))
        result = {"machine": machine(), "repeats": bench.repeats, "figures": bench.figures}
        (HERE / "results" / "cpu.json").write_text(json.dumps(result, indent=2) + "\n")
    if not all(figure["holds"] for figure in bench.figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
