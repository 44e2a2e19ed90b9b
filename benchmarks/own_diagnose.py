"""What `diagnose` says of planted faults and of sound merges: `own_diagnose.py` prints what it missed and false alarms."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/fault"))
from merged_models import CONVENTIONS, DTYPES, FAULTS, MODULES, Merge, base, lora
from test_diagnosis import SIXTEEN, diagnosed

from adapterops.verification.diagnosis.verdicts import HEALTHY, SICK

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
        adapters = [lora(seed, rank, alpha, size, other, modules, rslora=seed % 2 == 1)]
        found = diagnosed(Merge(before, adapters, arithmetic).made(), before, adapters)
        if found.code != HEALTHY:
            yield f"{stored}, {trained}, {name}, {rank}, {alpha}, {size}: {found.sentence}"


def main() -> None:
    torch.set_num_threads(1)
    sound = len(DTYPES) ** 2 * len(CONVENTIONS) * len(SIZES)
    found = {"faults": len(FAULTS), "conventions": len(CONVENTIONS), "missed": list(missed())}
    print(json.dumps({**found, "sound": sound, "alarms": list(alarms())}))


main()
