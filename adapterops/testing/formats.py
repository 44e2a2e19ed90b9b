"""The laws of formats."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.adapters.saving import save_adapter
from adapterops.errors import AdapterOpsError, at
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.registry import FORMATS
from adapterops.provenance.history import Step
from adapterops.storage.outputs import MANIFEST
from adapterops.storage.place import Place
from adapterops.testing.examples import SHAPES, low_rank
from adapterops.updates.dense import Dense
from adapterops.updates.hadamard import Hadamard
from adapterops.updates.kronecker import Kronecker
from adapterops.updates.protocol import Linear

Random: TypeAlias = np.random.Generator
Shape: TypeAlias = tuple[int, int]


KINDS: dict[str, Callable[[Random, Shape, int], Linear]] = {
    "LoRA": low_rank,
    "LoHa": lambda random, shape, rank: Hadamard(low_rank(random, shape, rank), low_rank(random, shape, 2), 0.5),
    "LoKr": lambda random, shape, rank: Kronecker(
        low_rank(random, (shape[0], 1), rank), Dense(random.standard_normal((1, shape[1]))), 2.0
    ),
    "entries": lambda random, shape, rank: Dense(random.standard_normal(shape)),
}
"""What updates are tried: one of a shape, and of a rank where that kind has one."""

RANKS = (1, 3, 12)
"""The last is above what the shapes hold."""


def check_format(name: str) -> None:
    """The laws of a format that is written, for every kind of update that is linear, several shapes and ranks.

    What was saved is claimed by this format alone; the rank of each Scaling is that of the tensors; opening it gives back
    every update, in float32, by a name that may have underscores for dots, or another prefix; saving that gives the same
    bytes, and so does saving what was computed of it by a factor of 1.
    """
    for kind, made in KINDS.items():
        for rank in RANKS:
            random = np.random.default_rng(rank)
            updates = {f"model.{module}_proj": made(random, shape, rank) for module, shape in SHAPES.items()}
            with at(tensor=f"{kind} of rank {rank}"), tempfile.TemporaryDirectory() as folder:
                _check(name, updates, Path(folder))


def _check(name: str, updates: Mapping[str, Linear], folder: Path) -> None:
    first = folder / "first"
    try:
        save_adapter(Adapter.of(updates, dtype="F32"), first, format=name)
    except AdapterOpsError as error:
        raise AssertionError(f"{name}: {error}") from error
    claimed = [each for each, format in FORMATS.items() if format.claims(Place.of(first))]
    assert claimed == [name], f"{name}: what it saves is claimed by {claimed}"
    read = FORMATS[name].read(Place.of(first), None)
    ranks = {module: (each.rank, read.scalings[module].rank) for module, each in read.modules.items()}
    assert all(None in pair or pair[0] == pair[1] for pair in ranks.values()), (
        f"{name}: the ranks of tensors and of their Scaling differ: {ranks}"
    )
    opened = open_adapter(first)
    spelled = {flat(module).key: module for module in opened.layout}
    assert sorted(spelled) == sorted(flat(module).key for module in updates), f"{name}: modules {sorted(opened.layout)}"
    for module, update in updates.items():
        found, expected = opened.updates[spelled[flat(module).key]].dense(), update.dense()
        within = 1e-5 * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found, expected, rtol=0, atol=within, err_msg=f"{name}: {module}")
    for again, adapter in (
        ("copied", opened),
        ("computed", replace(opened, history=Step("add", {}, (opened.history,)))),
    ):
        save_adapter(adapter, folder / again, format=name)
        for file in sorted(first.glob("*")):
            same = file.name == MANIFEST or file.read_bytes() == (folder / again / file.name).read_bytes()
            assert same, f"{name}: {file.name} differs when it is {again} again"
