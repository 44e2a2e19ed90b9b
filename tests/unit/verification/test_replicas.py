from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiny_models import write_base

import adapterops as ao
from adapterops.operations.stacking import Slice, stack
from adapterops.verification.replicas import replica_doubts

RANGES = [(0, 2), (1, 3)]


def test_layers_are_those_of_the_ranges(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    (folder / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 3}')
    base = ao.open_checkpoint(folder)
    made = stack([Slice(base, *each) for each in RANGES])
    assert not list(replica_doubts(base, made, RANGES))
    one, two = "model.layers.1.q_proj.weight", "model.layers.2.q_proj.weight"
    other = replace(made, stored={**made.stored, two: base.stored[two]})
    assert list(replica_doubts(base, other, RANGES)) == [(two, f"is not a copy of {one}, as layer_replication says")]
    found = dict(replica_doubts(base, made, [(0, 2)]))
    assert found["model.layers.3.norm.weight"] == "should not be there"
    assert dict(replica_doubts(base, base, RANGES))["model.layers.3.norm.weight"] == "is missing"
