"""What `diagnose` says of planted faults and of sound merges, counted: `python benchmarks/diagnosing.py [WORK]`.

Every fault of tests/merged_models.py, by seven arithmetics of merging: named, where the verdict is that something is
wrong, and the sentence or a finding says what was planted, in the modules where it was. Every sound merge: an alarm, where
the verdict is anything else. And a model of 0.5B parameters that was merged right, and one that has another adapter:
seconds of the processor, and the peak of memory. Writes benchmarks/results/diagnosing.json; two minutes on two cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import HERE, OURS, measure

RESULTS = HERE / "results/diagnosing.json"


def large(work: Path) -> dict[str, Any]:
    """Seconds and MB of one process with one worker."""
    folder, a, b, fused = (work / name for name in ("base", "a", "b", "fused"))
    measure(sys.executable, HERE / "shapes.py", folder, "model", 24, "bfloat16", 0)
    for seed, adapter in enumerate((a, b)):
        measure(sys.executable, HERE / "shapes.py", adapter, "qwen", 16, "float32", seed)
    measure(*OURS, "fuse", folder, a, "-o", fused)
    right = ["diagnose", fused, "--base", folder, "--workers", "1", "--memory", "300MB", "--adapter"]
    found = {"right": measure(*OURS, *right, a), "another adapter": measure(*OURS, *right, b, code=8)}
    return {name: {"cpu seconds": each["cpu"], "mb": each["mb"]} for name, each in found.items()}


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as work:
        size = large(Path(work))
    counted = subprocess.run([sys.executable, HERE / "own_diagnose.py"], stdout=subprocess.PIPE, check=True)
    found = {**json.loads(counted.stdout), "0.5B": size}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
