"""What collections of adapters take, and what they lose: `compressing.py`, minutes on two cores, no downloads.

Written to benchmarks/results/collections.json; `python docs/pages.py` makes the tables of docs/collections.md of it. The
200 adapters of the first part are random, in bfloat16, and share what their name says. The second is how long it takes to
have one adapter again.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from adapterops import Adapter, AdapterConfig, LowRank, compress, open_adapter, save_adapter
from adapterops.adapters.compressed import Compressed
from adapterops.arrays.floats import narrowed, widened
from adapterops.arrays.scratch import Scratch
from adapterops.linalg.sharing import distance

RESULTS = Path(__file__).parent / "results" / "collections.json"
MANY, RANK = 200, 16
MODULES = {"model.layers.0.self_attn.q_proj": (512, 512), "model.layers.0.mlp.up_proj": (768, 384)}
LARGE = {f"model.layers.{layer}.mlp.up_proj": (2048, 1024) for layer in range(32)}

Random = np.random.Generator
Made = Callable[[Random, LowRank, int], LowRank]


def of(random: Random, rank: int, shape: tuple[int, int]) -> LowRank:
    B, A = random.standard_normal((shape[0], rank)), random.standard_normal((rank, shape[1]))
    return LowRank((B / rank**0.5).astype(np.float32), (A / shape[1] ** 0.5).astype(np.float32))


def regauged(random: Random, update: LowRank) -> LowRank:
    """Other factors of the same update: rotated, and scaled by up to 2."""
    Q = np.linalg.qr(random.standard_normal((update.rank, update.rank)))[0]
    G = Q * random.uniform(0.5, 2, update.rank)
    return LowRank(update.B @ G, np.linalg.inv(G) @ update.A)


KINDS: dict[str, Made] = {
    "one update of rank 14, and two dimensions of a fifth of its norm each": lambda random, base, _: (
        LowRank(base.B[:, :14], base.A[:14]) + 0.2 * of(random, 2, base.shape)
    ),
    "twenty different ones, each in ten sets of factors": lambda random, base, number: regauged(
        random, of(np.random.default_rng(number % 20), RANK, base.shape)
    ),
    "one A, and a B each": lambda random, base, _: LowRank(of(random, RANK, base.shape).B, base.A),
    "one adapter, and its B and A moved by a twentieth": lambda random, base, _: LowRank(
        base.B * (1 + 0.05 * random.standard_normal(base.B.shape)),
        base.A * (1 + 0.05 * random.standard_normal(base.A.shape)),
    ),
    "nothing": lambda random, base, _: of(random, RANK, base.shape),
}
"""What the adapters share → the update of one of them, of a base and its number."""


def half(update: LowRank) -> LowRank:
    """With factors rounded to bfloat16."""
    return LowRank(
        *(widened(narrowed(each, "BF16", Scratch()), "BF16", Scratch()) for each in (update.folded(), update.A))
    )


def adapters(made: Made, modules: Mapping[str, tuple[int, int]] = MODULES, many: int = MANY) -> dict[str, Adapter]:
    base = {
        module: of(np.random.default_rng(place), RANK, shape) for place, (module, shape) in enumerate(modules.items())
    }
    found = {}
    for number in range(many):
        random = np.random.default_rng(1000 + number)
        updates = {module: half(made(random, each, number)) for module, each in base.items()}
        found[f"task{number}"] = Adapter.of(updates, AdapterConfig("base"), "BF16")
    return found


def expanded() -> dict[str, Any]:
    """Milliseconds to open an adapter of a collection and to have all its factors, and then until it is a folder that PEFT
    can load: of the clock and of processors, medians.
    """
    took: dict[str, list[tuple[float, float]]] = {"opened, all factors": [], "a folder of PEFT": []}
    with tempfile.TemporaryDirectory() as name:
        given = adapters(next(iter(KINDS.values())), LARGE, many=8)
        done = compress(given, f"{name}/coll")
        for turn in range(16):
            begin = time.perf_counter(), time.process_time()
            adapter = open_adapter(f"{name}/coll#task{turn % 8}")
            for module in adapter.layout:
                adapter.updates[module]
            took["opened, all factors"].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
            save_adapter(adapter, f"{name}/out{turn}")
            took["a folder of PEFT"].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    medians = {
        what: [1000 * statistics.median(each) for each in zip(*rows, strict=True)] for what, rows in took.items()
    }
    return {"modules": len(LARGE), "parameters": done.in_16_bits // 2 // 8, **medians}


def row(done: Compressed) -> dict[str, Any]:
    return {
        "bytes": done.bytes,
        "in 16 bits": done.in_16_bits,
        "codes": done.codes,
        "alone": done.separate,
        "adapter": max(done.errors.values()),
        "module": done.worst[0],
        "stored": statistics.mean(done.modules.values()),
    }


def many() -> Iterator[dict[str, Any]]:
    for what, made in KINDS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            given = adapters(made)
            begin = time.perf_counter()
            done = compress(given, folder / "coll")
            seconds = time.perf_counter() - begin
            check(given, folder / "coll", done)
            yield {"what": what, **row(done), "seconds": seconds}


def check(given: dict[str, Adapter], path: Path, done: Compressed) -> None:
    """The stated errors, measured again on what is read from the file."""
    for name in list(given)[::40]:
        again = open_adapter(f"{path}#{name}")
        for module in MODULES:
            exact = given[name].updates[module]
            assert distance(exact, again.updates[module]) <= done.worst[0] * exact.norm() * 1.001, (name, module)


PARTS: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
    "many": many,
    "expanded": lambda: [expanded()],
}


def main() -> None:
    asked = sys.argv[1:] or [*PARTS]
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for part in asked:
        results[part] = []
        for each in PARTS[part]():
            results[part].append(each)
            print(json.dumps(each), file=sys.stderr, flush=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
