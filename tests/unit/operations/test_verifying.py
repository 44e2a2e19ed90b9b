"""Comparing holds no more than it says; what it finds is tried in tests/interop and tests/cli."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from corpus import factors, write_adapter
from safetensors.torch import save_file
from tiny_models import write_base, write_tuned
from torch import bfloat16, randn

import adapterops as ao
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.operations.verifying import comparison
from adapterops.quant.blocks import Nearest


@pytest.mark.parametrize("adapters", [1, 2])
def test_memory_is_what_is_stated(tmp_path: Path, adapters: int) -> None:
    """Of numpy's arrays, which is where all of it goes: for an addition, and where rows are merged by their entries."""
    (tmp_path / "base").mkdir()
    save_file({"m.weight": randn(2048, 1024).to(bfloat16)}, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    for seed in range(adapters):
        write_adapter(tmp_path / str(seed), factors(["m"], out=2048, into=1024, seed=seed), modules=["m"])
    base, opened = ao.open_checkpoint(tmp_path / "base"), [ao.open_adapter(tmp_path / str(n)) for n in range(adapters)]
    adapter = opened[0] if adapters == 1 else ao.merge(opened, "ties", density=0.5)
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "out")
    found = comparison(ao.open_checkpoint(tmp_path / "out"), base, adapter)

    tracemalloc.start()
    try:
        findings = list(found.run(found.items, Execution(1)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.verification(findings).ok
    assert 0.3 * found.working_memory(1) < peak <= found.working_memory(1)


def test_what_is_asked_of_all_tensors_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each of them: of ten thousand that would be a hundred million questions."""
    base, adapter = ao.open_checkpoint(write_base(tmp_path / "base")), ao.open_adapter(write_tuned(tmp_path / "a"))
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "out")
    found = comparison(ao.open_checkpoint(tmp_path / "out"), base, adapter)
    asked, real = [], Checkpoint.computed
    monkeypatch.setattr(Checkpoint, "computed", lambda self, name: asked.append(name) or real(self, name))
    assert found.verification(list(found.run(found.items, Execution(1)))).ok
    assert max(map(asked.count, asked)) <= 3


@pytest.mark.parametrize(("factor", "explained"), [(1 + 2.0**-23, True), (1.25, False)])
def test_the_last_bit_of_a_scale_may_be_that_of_another_processor(
    factor: float, explained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is found, and the message says that rounding explains it."""
    modules = [f"model.layers.{layer}.{name}" for layer in range(2) for name in ("q_proj", "v_proj")]
    write_base(tmp_path / "base", layers=2, out=64, into=96)
    write_adapter(tmp_path / "a", factors(modules, out=64, into=96))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        absmax = Nearest._absmax
        patch.setattr(Nearest, "_absmax", lambda *given: absmax(*given) * factor)
        assert run(["fuse", "base", "a", "--quantize", "nf4", "--accept-loss", "-o", "out"]) == 0
    assert run(["verify", "out"]) == 8
    assert ("a processor of another kind" in capsys.readouterr().out) == explained
