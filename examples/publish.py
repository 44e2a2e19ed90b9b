"""From two references to a published merge with a card that explains itself: `python examples/publish.py A B REPO
OUT`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import adapterops as ao


def main(first: str, second: str, repo: str, out: str) -> None:
    a, b = (ao.open_adapter(ao.locate(reference)) for reference in (first, second))
    saved = ao.save_adapter(ao.merge([a, b], "ties", density=0.3, scale="auto"), Path(out))
    print(f"energy kept of the uncut merge: {saved.energy:.1%}")
    print(ao.push(out, repo, private=True).url)


if __name__ == "__main__":
    main(*sys.argv[1:5])
