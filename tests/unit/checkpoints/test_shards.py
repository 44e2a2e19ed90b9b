"""Files of tensors: each complete, hashed and noted once, and an error in one of them ends the work."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import blake3
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.saving import plan_checkpoint
from adapterops.checkpoints.shards import write_shards
from adapterops.engine.execution import Execution
from adapterops.errors import InputError
from adapterops.storage.writer import SafetensorsWriter

Q = "model.layers.1.q_proj.weight"


class Noted:
    def __init__(self) -> None:
        self.entries: list[Mapping[str, Any]] = []

    def add(self, entry: Mapping[str, Any]) -> None:
        self.entries.append(entry)


@pytest.fixture
def fused(tmp_path: Path) -> Checkpoint:
    (tmp_path / "out").mkdir()
    return ao.fuse(ao.open_checkpoint(write_base(tmp_path / "base")), ao.open_adapter(write_tuned(tmp_path / "a")))


def hashed(path: Path) -> str:
    return blake3.blake3(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_file_is_what_was_planned_and_noted(fused: Checkpoint, tmp_path: Path, workers: int) -> None:
    jobs, records, out = plan_checkpoint(fused).jobs, Noted(), tmp_path / "out"
    found = write_shards(fused, jobs, out, records, Execution(workers))
    assert sorted(found) == sorted(path.name for path in out.iterdir()) == sorted(job.file for job in jobs)
    assert sorted(entry["file"] for entry in records.entries) == sorted(found), "each once"
    hashes = {}
    for job in jobs:
        shard, written = found[job.file], load_file(out / job.file)
        assert (shard.size, shard.blake3) == ((out / job.file).stat().st_size, hashed(out / job.file))
        assert written.keys() == set(job.tensors)
        for name, tensor in written.items():
            if name != "steps":
                assert torch.equal(tensor, fused.tensors[name])
        assert set(shard.modules) == {name.removesuffix(".weight") for name in job.tensors if "_proj" in name}
        hashes |= {file.path.name: each["blake3"] for file, each in zip(job.inputs, shard.inputs, strict=True)}
    inputs = [*(tmp_path / "base").glob("*.safetensors"), *(tmp_path / "a").glob("*.safetensors")]
    assert hashes == {path.name: hashed(path) for path in inputs}


def test_the_rest_of_the_last_file_is_hashed_while_the_disk_is_waited_for(
    fused: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing = threading.Event()
    digest = SafetensorsWriter.blake3

    def blake3_(writer: SafetensorsWriter) -> str:
        hashing.set()
        return digest(writer)

    monkeypatch.setattr(SafetensorsWriter, "blake3", blake3_)
    monkeypatch.setattr(SafetensorsWriter, "sync", lambda _: hashing.wait(2) or pytest.fail("the processors were idle"))
    jobs = plan_checkpoint(fused).jobs
    assert write_shards(fused, jobs[1:2], tmp_path / "out", Noted(), Execution(1))


def test_some_of_the_jobs_write_their_files_alone(fused: Checkpoint, tmp_path: Path) -> None:
    jobs = plan_checkpoint(fused).jobs
    found = write_shards(fused, jobs[1:2], tmp_path / "out", Noted(), Execution(1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [jobs[1].file] == list(found)


def test_an_error_names_file_and_tensor_and_its_shard_is_not_noted(fused: Checkpoint, tmp_path: Path) -> None:
    def damaged(begin: int, end: int) -> Any:
        raise InputError("is damaged")

    records = Noted()
    broken = replace(fused, edits={**fused.edits, Q: damaged})
    jobs = plan_checkpoint(fused).jobs
    with pytest.raises(InputError, match="is damaged") as caught:
        write_shards(broken, jobs, tmp_path / "out", records, Execution(1))
    assert caught.value.tensor == Q
    file = next(job.file for job in jobs if Q in job.tensors)
    assert str(caught.value.path) == str(tmp_path / "base" / file)
    assert file not in [entry["file"] for entry in records.entries]
