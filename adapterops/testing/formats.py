"""The laws of formats."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.adapters.saving import save_adapter
from adapterops.errors import AdapterOpsError
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.registry import FORMATS
from adapterops.storage.place import Place
from adapterops.testing.examples import SHAPES, low_rank
from adapterops.updates.lowrank import LowRank


def check_format(name: str) -> None:
    """The laws of a format that is written.

    What was saved is claimed by this format alone; opening it gives back every update, in float32, by a name that may
    have underscores for dots, or another prefix; saving that gives
    the same bytes.
    """
    random = np.random.default_rng(0)
    updates = {f"model.{module}_proj": _single(low_rank(random, shape, 3)) for module, shape in SHAPES.items()}
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        try:
            save_adapter(Adapter.of(updates, dtype="F32"), first, format=name)
        except AdapterOpsError as error:
            raise AssertionError(f"{name}: {error}") from error
        claimed = [each for each, format in FORMATS.items() if format.claims(Place.of(first))]
        assert claimed == [name], f"{name}: what it saves is claimed by {claimed}"
        opened = open_adapter(first)
        spelled = {flat(module).key: module for module in opened.layout}
        assert sorted(spelled) == sorted(flat(module).key for module in updates), (
            f"{name}: modules {sorted(opened.layout)}"
        )
        for module, update in updates.items():
            found, expected = opened.updates[spelled[flat(module).key]].dense(), update.dense()
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=f"{name}: {module}")
        save_adapter(opened, second, format=name)
        for file in first.glob("*.safetensors"):
            assert file.read_bytes() == (second / file.name).read_bytes(), (
                f"{name}: {file.name} differs when saved again"
            )


def _single(update: LowRank) -> LowRank:
    return LowRank(update.B.astype(np.float32), update.A.astype(np.float32), update.scale)
