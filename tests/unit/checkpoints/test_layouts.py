"""The dtype and the files that a checkpoint is written in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_base

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.layouts import cast, check_dtype, sharded
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import OptionError


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_base(tmp_path / "base"))


def test_floats_are_cast_and_the_config_says_so(base: Checkpoint) -> None:
    wide = cast(base, "F32")
    assert {wide.layout[name].dtype for name in wide.layout} == {"F32", "I64"}
    assert wide.layout["steps"] == base.layout["steps"]
    assert wide.config is not None
    assert wide.config["torch_dtype"] == "float32"
    assert wide.config["model_type"] == "tiny"
    with pytest.raises(OptionError, match="the dtype must be one of"):
        check_dtype("I8")


@pytest.mark.parametrize("most", [1, 300, 10**9])
def test_files_hold_at_most_so_many_bytes_or_one_tensor(base: Checkpoint, most: int) -> None:
    found = sharded(base, most)
    assert [name for shard in found.shards.values() for name in shard] == [
        name for shard in base.shards.values() for name in shard
    ]
    sizes = [sum(base.bytes(name) for name in shard) for shard in found.shards.values()]
    assert all(size <= most or len(shard) == 1 for size, shard in zip(sizes, found.shards.values(), strict=True))
    assert (len(found.shards) == 1) == (most == 10**9)
