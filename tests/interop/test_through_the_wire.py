"""A base that passes: read from the Hub shard by shard, and not kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import tree
from hub_server import Fault, Hub, Request
from tiny_models import write_base, write_tuned

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.saving import save_checkpoint
from adapterops.engine.execution import Execution
from adapterops.hub import ranges
from adapterops.hub.snapshot import locate
from adapterops.operations.fusion import fuse

OURS = "adapterops.json"


@pytest.fixture
def base(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in several files, here and on the Hub, and an adapter; only headers fit into a first request."""
    monkeypatch.setattr(ranges, "FIRST", 512)
    write_base(tmp_path / "base", layers=4)
    write_tuned(tmp_path / "a", layers=4)
    hub.put("me/base", tmp_path / "base")
    return tmp_path / "base"


def weights(requests: list[Request]) -> list[str]:
    return [each.path.rpartition("/")[2] for each in requests if each.path.endswith(".safetensors")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_base_that_passes_gives_the_same_bytes_and_nothing_stays(
    hub: Hub, base: Path, tmp_path: Path, workers: int
) -> None:
    opened, adapter = open_checkpoint(locate("me/base", streamed=True)), open_adapter(tmp_path / "a")
    hub.log.clear()
    hub.sent = 0
    save_checkpoint(fuse(opened, adapter), tmp_path / "out", how=Execution(workers))
    save_checkpoint(fuse(open_checkpoint(base), adapter), tmp_path / "local")
    passed, local = (tree(tmp_path / name) for name in ("out", "local"))
    notes = [json.loads((tmp_path / name / OURS).read_text()) for name in ("out", "local")]
    assert {**passed, OURS: ""} == {**local, OURS: ""}
    for name, file in notes[1]["inputs"][0]["files"].items():
        assert notes[0]["inputs"][0]["files"][name]["blake3"] == file["blake3"]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    shards = sorted(each.name for each in base.glob("*.safetensors"))
    if workers == 1:
        assert sorted(weights(hub.asked("GET"))) == shards[:-1], "one request each; the last one came with its header"
        assert hub.sent < 1.05 * sum(path.stat().st_size for path in base.iterdir())


def test_what_breaks_off_goes_on_where_it_was(hub: Hub, base: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(locate("me/base", streamed=True))
    hub.faults = [Fault("GET .*safetensors", "short", count=2), Fault("GET .*safetensors", 503, skip=3)]
    save_checkpoint(fuse(opened, open_adapter(tmp_path / "a")), tmp_path / "out", how=Execution(1))
    save_checkpoint(fuse(open_checkpoint(base), open_adapter(tmp_path / "a")), tmp_path / "local")
    assert {n: d for n, d in tree(tmp_path / "out").items() if n != OURS} == {
        n: d for n, d in tree(tmp_path / "local").items() if n != OURS
    }
