"""What is known of a collection while it is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from collections_of import MODULES, adapters

import adapterops as ao
from adapterops.adapters.compressed import CompressedModules
from adapterops.linalg.coding import code


def test_the_error_of_an_adapter_is_that_of_all_its_modules(tmp_path: Path) -> None:
    opened = {name: ao.open_adapter(path) for name, path in adapters(tmp_path, 3).items()}
    found, squares = CompressedModules(opened, 0.05, False), np.zeros((3, 2))
    for module in MODULES:
        coded = code([each.updates[module].lowrank() for each in opened.values()], 0.05)
        tensors = found.add(module, list(opened), coded)
        assert all(name.startswith(f"{module}:") for name in tensors)
        squares += np.square([coded.errors, coded.norms]).T
    done = found.compressed(None)
    np.testing.assert_allclose(list(done.errors.values()), np.sqrt(squares[:, 0] / squares[:, 1]))
    assert done.in_16_bits == 3 * sum(2 * 4 * sum(shape) for shape in MODULES.values())
    assert done.worst[0] >= max(done.errors.values())


def test_an_adapter_without_a_module_has_no_number_in_it(tmp_path: Path) -> None:
    opened = {name: ao.open_adapter(path) for name, path in adapters(tmp_path, 3).items()}
    coded = code([opened[name].updates["model.layers.0.q_proj"].lowrank() for name in ("task0", "task2")], 0.05)
    tensors = CompressedModules(opened, 0.05, False).add("model.layers.0.q_proj", ["task0", "task2"], coded)
    assert tensors["model.layers.0.q_proj:numbers"][1].tolist() == [0, -1, 1]
    assert tensors["model.layers.0.q_proj:errors"][1][1] == 0


def test_nothing_is_lost_of_an_adapter_of_zeros() -> None:
    zero = ao.Adapter.of({"q_proj": ao.LowRank(np.zeros((3, 1)), np.ones((1, 2)))})
    found = CompressedModules({"a": zero}, 0.05, False)
    found.add("q_proj", ["a"], code([zero.updates["q_proj"]], 0.05))
    assert found.compressed(None).errors == {"a": 0.0}
    assert found.compressed(None).worst[0] == pytest.approx(0.0)
