"""What leaving one module out of the default merge does to accuracy, and what is known of the module before: a line of JSON for each.

`without.py SUITE SEED...`, of all adapters of the suite and of three of them. Accuracies are divided by those of the single adapters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import torch
from quality import SUITES, entries, times

from adapterops import merge


def measured(name: str, seed: int) -> Iterator[dict[str, Any]]:
    suite = SUITES[name](seed)
    single, count = suite.accuracy(suite.single, "test"), len(suite.adapters)
    drawn = sorted(np.random.default_rng(seed).permutation(count)[:3].tolist())
    for chosen in (list(range(count)), drawn):
        adapters = [suite.adapters[place] for place in chosen]
        deltas, merged = [entries(each) for each in adapters], entries(merge(adapters))

        def score(given: Any, chosen: list[int] = chosen) -> float:
            return float((suite.accuracy(given, "test") / single)[chosen].mean())

        every = score(merged)
        for module, M in merged.items():
            parts = [each[module] for each in deltas]
            norms = [float(np.linalg.norm(each)) for each in parts]
            kept = [float(np.vdot(M, each)) / norm**2 for each, norm in zip(parts, norms, strict=True)]
            added = [np.linalg.norm(M - share * each) for share, each in zip(kept, parts, strict=True)]
            cosines = [np.vdot(parts[i], parts[j]) / norms[i] / norms[j] for i, j in combinations(range(len(parts)), 2)]
            yield {
                "suite": name,
                "seed": seed,
                "adapters": len(adapters),
                "module": module,
                "more without it": score(merged | {module: times({module: M}, 0.0)[module]}) - every,
                "least kept": min(kept),
                "kept": float(np.mean(kept)),
                "added": float(np.mean(added)) / len(M) ** 0.5,
                "norm": float(np.linalg.norm(M)) / len(M) ** 0.5,
                "least cosine": float(min(cosines)),
            }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number in sys.argv[2:]:
        for line in measured(sys.argv[1], int(number)):
            print(json.dumps(line), flush=True)
