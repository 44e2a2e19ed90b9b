"""Two adapters that pull in different directions: how much they collide, and how near each way of merging stays to both.

Modules of a merge that are large are made smaller (scale="auto"). Cosines and norms are facts about matrices, and say
nothing of a task. Try the merges on both tasks.

python examples/style_and_domain.py STYLE DOMAIN OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import adapterops as ao

METHODS: dict[str, dict[str, float]] = {
    "linear": {},
    "ties": {"density": 0.2},
    "dare_ties": {"density": 0.5},
    "magnitude_prune": {"density": 0.2},
}


def main(style: Path, domain: Path, out: Path) -> None:
    adapters = [ao.open_adapter(style), ao.open_adapter(domain)]
    (pair,) = ao.compare(adapters).pairs
    print(f"cosine {pair.cosine:.3f}")
    ao.report(adapters, out / "report.html")
    print(f"{'cosine of the merge with':26} {'style':>6} {'domain':>6}")
    for name, parameters in METHODS.items():
        ao.save_adapter(ao.merge(adapters, name, scale="auto", **parameters), out / name)
        with_style, with_domain, _ = ao.compare([ao.open_adapter(out / name), *adapters]).pairs
        print(f"{name:26} {with_style.cosine:6.3f} {with_domain.cosine:6.3f}")


if __name__ == "__main__":
    target = Path(sys.argv[3])
    target.mkdir(exist_ok=True)
    main(Path(sys.argv[1]), Path(sys.argv[2]), target)
