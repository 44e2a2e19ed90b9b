"""Small adapters of one base, and collections of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import adapterops as ao
from adapterops.formats.peft.config import AdapterConfig

MODULES = {
    f"model.layers.{layer}.{name}_proj": shape for layer in (0, 1) for name, shape in (("q", (24, 20)), ("k", (12, 20)))
}
CONFIG = AdapterConfig("owner/base", fields={"task_type": "CAUSAL_LM", "lora_dropout": 0.1})


def adapters(folder: Path, count: int = 5, own: float = 0.1, rank: int = 3) -> dict[str, Path]:
    """Folders of adapters that share an update of `rank` dimensions, and have one of their own each."""
    random, found = np.random.default_rng(0), {}
    base = {name: factors(random, shape, rank) for name, shape in MODULES.items()}
    for number in range(count):
        updates = {name: each + own * factors(random, each.shape, 1) for name, each in base.items()}
        found[f"task{number}"] = folder / f"task{number}"
        ao.save_adapter(ao.Adapter.of(updates, CONFIG, dtype="F32"), found[f"task{number}"])
    return found


def factors(random: np.random.Generator, shape: tuple[int, int], rank: int) -> ao.LowRank:
    return ao.LowRank(random.standard_normal((shape[0], rank)), random.standard_normal((rank, shape[1])))


def collection(folder: Path, paths: Mapping[str, Path], error: float = 0.01) -> Path:
    """A collection of adapters in folders."""
    ao.compress({name: ao.open_adapter(path) for name, path in paths.items()}, folder / "coll", error=error)
    return folder / "coll"
