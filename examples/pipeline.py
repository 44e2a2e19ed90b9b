"""adapterops as a step of a pipeline: check, merge, cut, fuse, prove, and hand on what was kept as JSON.

python examples/pipeline.py BASE ADAPTER ADAPTER... OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import adapterops as ao


def main(base: Path, sources: list[Path], out: Path) -> None:
    adapters = [ao.open_adapter(source) for source in sources]
    untrained = [str(source) for source in sources if len(ao.inspect(source).zero) == ao.inspect(source).modules]
    if untrained:
        raise SystemExit(f"never trained: {', '.join(untrained)}")
    merged = ao.merge(adapters, "ties", density=0.3, scale="auto")
    kept = ao.save_adapter(ao.truncate(merged, rank=8), out / "adapter")
    checkpoint = ao.open_checkpoint(base)
    adapter = ao.open_adapter(out / "adapter")
    saved = ao.save_checkpoint(ao.fuse(checkpoint, adapter), out / "model")
    proof = ao.verify(ao.open_checkpoint(out / "model"), checkpoint, adapter)
    facts = {
        "energy_kept": kept.energy,
        "survived_rounding": saved.total.gain,
        "verified": proof.ok,
        "bytes": saved.bytes,
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    try:
        target = Path(sys.argv[-1])
        target.mkdir(exist_ok=True)
        main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:-1]], target)
    except ao.AdapterOpsError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
