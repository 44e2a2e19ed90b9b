"""Gate and up of experts, of which a base has the rows in turn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.adapters.adapter import Adapter
from adapterops.operations.targets.alternating import joined_in_turn
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank

ABOVE = "model.layers.0.mlp.experts"
RNG = np.random.default_rng(0)
GATE = LowRank(RNG.standard_normal((3, 2)), RNG.standard_normal((2, 4)), 0.5)
UP = Dense(RNG.standard_normal((3, 4)))


def base(folder: Path, model_type: str) -> ao.Checkpoint:
    folder.mkdir()
    save_file({f"{ABOVE}.gate_up_proj": np.zeros((2, 4, 6), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return ao.open_checkpoint(folder)


@pytest.mark.parametrize("names", [("gate_proj", "up_proj"), ("w1", "w3")], ids="+".join)
def test_rows_of_gate_and_up_take_turns(tmp_path: Path, names: tuple[str, str]) -> None:
    gate, up = (f"{ABOVE}.1.{name}" for name in names)
    adapter = Adapter.of({gate: GATE, up: UP, "lm_head": UP})
    found = joined_in_turn(adapter, base(tmp_path / "base", "gpt_oss"))
    whole = f"{ABOVE}.1.gate_up_proj"
    assert found.layout.keys() == found.updates.keys() == {whole, "lm_head"}
    expected = np.stack([GATE.dense(), UP.dense()], axis=1).reshape(6, 4)
    np.testing.assert_allclose(found.updates[whole].dense(), expected, rtol=1e-12)
    alone = joined_in_turn(Adapter.of({up: GATE}), base(tmp_path / "again", "gpt_oss"))
    assert alone.layout[whole].rank == alone.updates[whole].lowrank().rank == 2
    np.testing.assert_allclose(alone.updates[whole].dense()[1::2], GATE.dense(), rtol=1e-12)
    assert not alone.updates[whole].dense()[::2].any()


def test_what_is_not_in_turn_is_left(tmp_path: Path) -> None:
    single = Adapter.of({f"{ABOVE}.1.gate_proj": GATE})
    assert joined_in_turn(single, base(tmp_path / "base", "qwen3_moe")) is single
    twice = Adapter.of({f"{ABOVE}.1.gate_proj": GATE, f"{ABOVE}.1.gate_up_proj": UP})
    assert joined_in_turn(twice, base(tmp_path / "again", "gpt_oss")) is twice
