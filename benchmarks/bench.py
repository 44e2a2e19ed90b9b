"""The harness: every figure is a fresh process; ours and the peer's alternate; medians are compared."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
import timeit
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from adapterops.storage.checksums import BLAKE3, SHA256, digest

HERE = Path(__file__).parent
OURS = [sys.executable, "-m", "adapterops"]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # some containers set it: every process would compile what it imports


def measure(*command: object, code: int = 0) -> dict[str, float]:
    """Seconds, those of the processor, the peak of memory in MB and, where it prints one, the last number of one process, which ends
    with an exit code.
    """
    print("  ...", *(str(part).rpartition("/")[2] for part in command[1:]), file=sys.stderr)
    begin = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    printed, errors = process.stdout.read(), process.stderr.read()  # both are pipes
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != code:
        raise SystemExit(f"{command} failed:\n{printed}{errors}")
    last = printed.split()[-1] if printed.split() else ""
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "mb": usage.ru_maxrss * 1024 / 1e6,
        **({"inner": float(last)} if last.replace(".", "").isdigit() else {}),
    }


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

    def note(
        self, what: str, value: float, unit: str, target: float | None = None, at_least: bool = False, **raw: Any
    ) -> None:
        """A figure; without a target it is one to look at.

        What `docs/performance.py` shows beside it: `ours` and `peer`, runs; `bytes` that are read and written at least,
        `flops` that are computed at least; or `curve`, seconds of several sizes.
        """
        holds = target is None or (value >= target if at_least else value <= target)
        self.figures.append(
            {"what": what, "value": value, "unit": unit, "target": target, "at_least": at_least, "holds": holds, **raw}
        )
        bound = "" if target is None else f"{'>=' if at_least else '<='} {target:g} {unit}"
        print(f"{what:64} {value:9.3g} {unit:3} {bound:12} {'ok' if holds else 'MISSED'}", flush=True)


def curve(over: str, at: Sequence[float], runs: Sequence[list[dict[str, float]]]) -> dict[str, Any]:
    """Medians at several sizes of one thing."""
    return {
        "over": over,
        "at": list(at),
        "seconds": [middle(each) for each in runs],
        "mb": [middle(each, "mb") for each in runs],
    }


def tensor_bytes(*folders: Path) -> int:
    """Bytes of the files of tensors in folders."""
    return sum(file.stat().st_size for folder in folders for file in folder.glob("*.safetensors"))


def middle(results: list[dict[str, float]], what: str = "seconds") -> float:
    return median(result[what] for result in results)


@cache
def gpu_name() -> str:
    """What torch finds; asked in a process of its own:
    what this one holds would count as its children's peak memory.
    """
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


MASK = "OPENSSL_ia32cap"
"""What hides instructions of an x86 processor from OpenSSL."""


def hashing(size: int = 1 << 26) -> dict[str, float]:
    """GB/s of each hash of files on one thread, the best of three:
    sha256 depends on the processor's instructions for it.
    """
    data = os.urandom(size)

    def speed(algorithm: str) -> float:
        return size / 1e9 / min(timeit.repeat(lambda: digest(data, algorithm), number=1, repeat=3))

    return {algorithm: speed(algorithm) for algorithm in (BLAKE3, SHA256)}


def copying(folder: Path, size: int = 1 << 28) -> float:
    """GB/s, read and written, of a file that is copied from memory to memory through the file system, best of three."""
    source = folder / "copied"
    source.write_bytes(os.urandom(size))

    def copy() -> None:
        shutil.copyfile(source, folder / "copy")
        (folder / "copy").unlink()

    seconds = min(timeit.repeat(copy, number=1, repeat=3))
    source.unlink()
    return 2 * size / 1e9 / seconds


def multiplying(size: int = 2048) -> float:
    """GFLOP/s of float32 matrices on all processors, best of three, as numpy multiplies them; in a process of its own."""
    code = (
        "import numpy, timeit; M = numpy.ones(({0}, {0}), 'f');"
        "print(min(timeit.repeat(lambda: M @ M, number=1, repeat=4)))"
    )
    printed = subprocess.run([sys.executable, "-c", code.format(size)], capture_output=True, text=True, check=True)
    return 2 * size**3 / 1e9 / float(printed.stdout)


def machine(folder: Path) -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for name in ("torch", "peft", "transformers", "numpy", "mergekit", "bitsandbytes", "ray"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        **({"gpu": gpu_name()} if gpu_name() else {}),
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "sha_ni": any("sha_ni" in line.split() for line in lines) and MASK not in os.environ,
        "avx512": any("avx512f" in line.split() for line in lines),
        "hashing GB/s": hashing(),
        "copying GB/s": copying(folder),
        "GFLOP/s": multiplying(),
        "python": platform.python_version(),
        **versions,
    }
