"""Which rank is enough: the adapter at every power of two, what each keeps, and how many bytes it takes.

python examples/rank_bracketing.py ADAPTER OUT [ENERGY]
"""

from __future__ import annotations

import sys
from pathlib import Path

import adapterops as ao


def main(source: Path, out: Path, wanted: float) -> None:
    adapter = ao.open_adapter(source)
    largest = max(layout.rank for layout in adapter.layout.values())
    few, most = ao.spectra(adapter).bracket
    print(f"80% of the energy: rank {few}; 99%: rank {most}; try ranks between them")
    rank, enough = 1, None
    while rank <= largest:
        saved = ao.save_adapter(ao.truncate(adapter, rank=rank), out / f"r{rank}")
        enough = enough or (rank if saved.energy >= wanted else None)
        print(f"rank {rank:4}  {saved.energy:8.2%} of the energy  {saved.bytes:10} bytes")
        rank *= 2
    print(f"enough for {wanted:.0%}: rank {enough or largest}")


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(exist_ok=True)
    main(Path(sys.argv[1]), target, float(sys.argv[3]) if len(sys.argv) > 3 else 0.95)
