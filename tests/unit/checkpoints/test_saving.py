"""A checkpoint is written file by file, and what survived of each update is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pretended import pretend
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.saving import plan_checkpoint, save_checkpoint
from adapterops.engine.execution import Execution
from adapterops.errors import NotFoundError, OutputExistsError, VerificationError
from adapterops.operations.quantization import rounding
from adapterops.quant import bitsandbytes


@pytest.fixture
def fused(tmp_path: Path) -> Checkpoint:
    return ao.fuse(ao.open_checkpoint(write_base(tmp_path / "base")), ao.open_adapter(write_tuned(tmp_path / "a")))


def test_the_plan_is_what_is_written(fused: Checkpoint, tmp_path: Path) -> None:
    plan = plan_checkpoint(fused)
    saved = save_checkpoint(fused, tmp_path / "out")
    assert {job.file for job in plan.jobs} == {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert (saved.tensors, len(saved.modules), saved.path) == (12, 6, tmp_path / "out")
    assert plan.bytes <= saved.bytes
    assert 0.99 < saved.total.gain < 1.01
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == fused.layout.keys()
    assert index["metadata"]["total_size"] == plan.bytes
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (tmp_path / "base/tokenizer.json").read_bytes()


def test_equal_work_has_an_equal_hash(fused: Checkpoint) -> None:
    assert plan_checkpoint(fused).hash == plan_checkpoint(fused).hash
    assert plan_checkpoint(fused).hash != plan_checkpoint(ao.cast(fused, "F32")).hash


def test_an_update_that_changes_nothing_is_no_output(fused: Checkpoint, tmp_path: Path) -> None:
    small = ao.fuse(ao.open_checkpoint(tmp_path / "base"), 1e-9 * ao.open_adapter(tmp_path / "a"))
    with pytest.raises(VerificationError, match="rounding erased every update") as caught:
        save_checkpoint(small, tmp_path / "out")
    assert (caught.value.code, (tmp_path / "out").exists()) == ("E-UNCHANGED", False)


def test_an_output_is_not_replaced_unless_asked_for(fused: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(fused, tmp_path / "out")
    with pytest.raises(OutputExistsError):
        save_checkpoint(fused, tmp_path / "out")
    save_checkpoint(fused, tmp_path / "out", force=True)


def test_a_gpu_needs_another_package_for_the_codes_that_its_kernel_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, how = ao.open_checkpoint(write_base(tmp_path / "base")), Execution(device="cuda")
    ao.save_checkpoint(ao.quantize(base, "nf4"), tmp_path / "nf4")
    codes, adapter = ao.open_checkpoint(tmp_path / "nf4"), ao.open_adapter(write_tuned(tmp_path / "a"))
    pretend(monkeypatch)
    monkeypatch.setattr(bitsandbytes, "find_spec", lambda name: None)
    for scheme in ("fp4", "int8"):
        plan_checkpoint(ao.quantize(base, scheme), how)
    plan_checkpoint(rounding(ao.fuse(codes, adapter), "stochastic"), how)  # its scales stay
    plan_checkpoint(ao.fuse(ao.dequantize(codes), adapter), how)
    with pytest.raises(NotFoundError, match="needs bitsandbytes"):
        plan_checkpoint(ao.quantize(base, "nf4"), how)
