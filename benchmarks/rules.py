"""How rules for merging differ on suites and seeds that nothing was chosen by: `rules.py SUITE SEED...`, a line of JSON for each.

The suites are those of `quality.py`; `other tasks`, four other kinds of sentences on three layers of the encoder; and
`eight tasks`, all eight on two. Of each: all adapters; two to six of them; one five times as large as the others; three, one of
them twice; three less a fourth; and the halves of one, by rank. Accuracies are divided by those of the single adapters.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from encoder import LAYERS, OTHERS, TASKS, encoder
from quality import GRID, SUITES, by_peft, entries, times

from adapterops import Adapter, LowRank, merge

KINDS = SUITES | {
    "other tasks": lambda seed: encoder(seed, OTHERS, range(3, LAYERS)),
    "eight tasks": lambda seed: encoder(seed, (*TASKS, *OTHERS)),
}
RULES = ("linear", "even", "tsv")
TUNED = ("iso_c", "tsv", "pico", "knots_ties")
FIVE = 5**0.5


def half(adapter: Adapter, part: slice) -> Adapter:
    """Some of the ranks of an adapter."""
    found = {}
    for module in adapter.layout:
        update: Any = adapter.updates[module]
        found[module] = LowRank(update.B[:, part].copy(), update.A[part].copy(), update.scale)
    return Adapter.of(found)


def measured(name: str, seed: int) -> dict[str, Any]:
    suite = KINDS[name](seed)
    adapters, count = suite.adapters, len(suite.adapters)
    pick = np.random.default_rng([seed, zlib.crc32(name.encode())])
    full = suite.accuracy(suite.single, "test")

    def score(deltas: Any, tasks: Sequence[int], single: np.ndarray = full) -> float:
        return round(float((suite.accuracy(deltas, "test") / single)[list(tasks)].mean()), 4)

    def each(given: list[Adapter], tasks: Sequence[int], single: np.ndarray = full, **options: Any) -> dict[str, float]:
        found = {rule: score(entries(merge(given, rule, scale="auto", **options)), tasks, single) for rule in RULES}
        plain = entries(merge(given, scale="sum", **options))
        mean = times(plain, 1 / len(given))
        return found | {"sum": score(plain, tasks, single), "mean": score(mean, tasks, single)}

    every = range(count)
    result: dict[str, Any] = {"suite": name, "seed": seed, "all": each(adapters, every)}
    for method in TUNED:
        plain = entries(merge(adapters, method, scale="sum"))
        best = max(GRID, key=lambda factor: suite.accuracy(times(plain, factor), "validation").mean())
        result["all"][f"tuned {method}"] = score(times(plain, best), every)
    for method in ("linear", "ties"):
        theirs = by_peft(adapters, method)
        result["all"] |= {
            f"PEFT {method} {weight:.3g}": score(times(theirs, weight), every) for weight in (1, 1 / count)
        }
    two, one = pick.permutation(count)[:2], int(pick.integers(count))
    result["two"] = each([adapters[i] for i in two], two)
    sized = [(FIVE if i == one else 1 / FIVE) * adapters[i] for i in every]
    deltas = {m: np.stack([x.updates[m].dense() for x in sized]) for m in adapters[0].layout}
    result["one five times as large"] = each(sized, every, suite.accuracy(deltas, "test"))
    three, four = pick.permutation(count)[:3], pick.permutation(count)[:4]
    result["one of three twice"] = each([adapters[i] for i in (three[0], *three)], three)
    result["three less a fourth"] = each([adapters[i] for i in four], four[:3], weights=[1, 1, 1, -1])
    some = np.random.default_rng([seed, zlib.crc32(name.encode()), 3])
    for size in range(3, min(count, 6) + 1):
        drawn = some.permutation(count)[:size]
        result[f"{size} of them"] = each([adapters[i] for i in drawn], drawn)
    one = int(pick.integers(count))
    result["two halves of one"] = each([half(adapters[one], slice(4)), half(adapters[one], slice(4, None))], [one])
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number in sys.argv[2:]:
        print(json.dumps(measured(sys.argv[1], int(number))), flush=True)
