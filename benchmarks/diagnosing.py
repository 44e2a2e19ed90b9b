"""What `diagnose` says of planted faults and of sound merges, counted: `python benchmarks/diagnosing.py [WORK]`.

Every fault of tests/merged_models.py, by the arithmetic of seven programs: named, where the verdict is that something is
wrong, and the sentence or a finding says what was planted, in the modules where it was. Every sound merge: an alarm, where
the verdict is anything else. And a model of 0.5B parameters that was merged right, and one that has another adapter:
seconds, and the peak of memory. Writes benchmarks/results/diagnosing.json; about ten minutes on one quiet core.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bench import HERE, OURS, measure

sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests/fault")]

import torch
from merged_models import CONVENTIONS, DTYPES, FAULTS, MODULES, LoRA, Merge, base, lora
from test_diagnosis import SIXTEEN, diagnosed

from adapterops.verification.diagnosis.verdicts import HEALTHY, SICK

RESULTS = HERE / "results/diagnosing.json"
SOUND = 504
SIZES = [
    (4, 6, 0.02),
    (8, 8, 0.002),
    (2, 1, 0.2),
    (4, 4, 0.0005),
    (1, 32, 0.05),
    (16, 32, 0.01),
    (3, 5, 0.5),
    (8, 16, 0.003),
]
"""Rank, alpha, and the size of the update relative to the weight."""


def missed() -> Iterator[str]:
    """Faults that are not named, of all faults by all conventions."""
    for number, (name, (convention, arithmetic)) in enumerate(product(FAULTS, CONVENTIONS.items())):
        fault, dtypes = FAULTS[name], list(DTYPES.values())
        before = base(number, torch.bfloat16 if convention in SIXTEEN else dtypes[number % 3])
        adapters = [lora(number + 1000 * k, 8, 4.0, 0.05, dtypes[number // 3 % 3]) for k in range(len(fault.weights))]
        found = diagnosed(fault.plant(Merge(before, adapters, arithmetic, fault.weights)), before, adapters)
        words = " ".join([found.sentence, *(each.what for each in found.findings)])
        places = {each.place.removesuffix(".weight") for each in found.findings}
        right = not fault.places or places == {place.removesuffix(".weight") for place in fault.places}
        if found.code != SICK or fault.says not in words or not right:
            yield f"{name} by {convention}: {words[:200]}"


def alarms() -> Iterator[str]:
    """Sound merges that are not healthy: three dtypes of the base, three of the adapter, seven conventions, eight sizes."""
    kinds = product(DTYPES.items(), DTYPES.items(), CONVENTIONS.items(), SIZES)
    for seed, ((stored, one), (trained, other), (name, arithmetic), (rank, alpha, size)) in enumerate(kinds):
        before, modules = base(seed, one), list(MODULES)[seed % 3 :: 3]
        adapters: Sequence[LoRA] = [lora(seed, rank, alpha, size, other, modules, rslora=seed % 2 == 1)]
        found = diagnosed(Merge(before, adapters, arithmetic).made(), before, adapters)
        if found.code != HEALTHY:
            yield f"{stored}, {trained}, {name}, {rank}, {alpha}, {size}: {found.sentence}"


def large(work: Path) -> dict[str, Any]:
    """Seconds and MB of one process with one worker."""
    folder, a, b, fused = (work / name for name in ("base", "a", "b", "fused"))
    measure(sys.executable, HERE / "shapes.py", folder, "model", 24, "bfloat16", 0)
    for seed, adapter in enumerate((a, b)):
        measure(sys.executable, HERE / "shapes.py", adapter, "qwen", 16, "float32", seed)
    measure(*OURS, "fuse", folder, a, "-o", fused)
    right = ["diagnose", fused, "--base", folder, "--workers", "1", "--memory", "300MB", "--adapter"]
    return {"right": measure(*OURS, *right, a), "another adapter": measure(*OURS, *right, b, code=8)}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as work:
        size = large(Path(work))
    faults, sound = list(missed()), list(alarms())
    assert len(DTYPES) ** 2 * len(CONVENTIONS) * len(SIZES) == SOUND
    found = {
        "faults": len(FAULTS),
        "conventions": len(CONVENTIONS),
        "missed": faults,
        "sound": SOUND,
        "alarms": sound,
        "0.5B": size,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
