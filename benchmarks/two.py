"""How rules for two adapters differ, on seeds that nothing was chosen by: `two.py SUITE SEED...`, a line of JSON for each cohort.

The suites are those of `rules.py`. Of each two pairs, drawn at random, and the halves of one adapter, by rank. Accuracies are
divided by those of the single adapters; *tuned* is the best of eight factors, on validation data.
"""

from __future__ import annotations

import json
import sys
import zlib
from typing import Any

import numpy as np
import torch
from quality import by_peft, entries, times
from rules import KINDS, half
from suites import Suite

from adapterops import Adapter, merge

RULES = ("linear", "even", "tsv", "clear")
TUNED = ("linear", "tsv", "pico", "even", "iso_c")
GRID = (0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0)


def measured(suite: Suite, given: list[Adapter], tasks: list[int]) -> dict[str, float]:
    """Of the two adapters by each rule and scale."""
    single = suite.accuracy(suite.single, "test")[tasks]

    def score(deltas: Any, split: str = "test") -> float:
        found = suite.accuracy(deltas, split)[tasks]
        return round(float((found / single if split == "test" else found).mean()), 4)

    plain = entries(merge(given, "linear", scale="sum"))
    found = {"sum": score(plain), "mean": score(times(plain, 0.5))}
    found |= {rule: score(entries(merge(given, rule, scale="auto"))) for rule in RULES}
    if len(tasks) == 1:
        return found
    for method in TUNED:
        plain = entries(merge(given, method, scale="sum"))
        best = max(GRID, key=lambda factor: score(times(plain, factor), "validation"))
        found[f"tuned {method}"] = score(times(plain, best))
    for method in ("linear", "ties"):
        theirs = by_peft(given, method)
        found |= {f"PEFT {method} {weight}": score(times(theirs, weight)) for weight in (1, 0.5)}
    return found


def main(name: str, seed: int) -> None:
    suite = KINDS[name](seed)
    order = np.random.default_rng([seed, zlib.crc32(name.encode()), 77]).permutation(len(suite.adapters)).tolist()
    one = suite.adapters[order[0]]
    cohorts = {f"pair {k}": ([suite.adapters[i] for i in two], two) for k, two in enumerate((order[:2], order[2:4]))}
    cohorts["halves"] = [half(one, slice(4)), half(one, slice(4, None))], order[:1]
    for cohort, (given, tasks) in cohorts.items():
        print(json.dumps({"suite": name, "seed": seed, "cohort": cohort, **measured(suite, given, tasks)}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number in sys.argv[2:]:
        main(sys.argv[1], int(number))
