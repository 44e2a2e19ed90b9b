"""Two adapters that pull in different directions: how much they collide, and what each way of merging keeps of both.

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
    print(f"{'method':18} {'energy kept at the rank of the larger'}")
    rank = max(layout.rank for adapter in adapters for layout in adapter.layout.values())
    for name, parameters in METHODS.items():
        saved = ao.save_adapter(ao.truncate(ao.merge(adapters, name, **parameters), rank=rank), out / name)
        print(f"{name:18} {saved.energy:.1%}")


if __name__ == "__main__":
    target = Path(sys.argv[3])
    target.mkdir(exist_ok=True)
    main(Path(sys.argv[1]), Path(sys.argv[2]), target)
