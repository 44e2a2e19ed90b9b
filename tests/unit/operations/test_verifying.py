"""Comparing holds no more than it says; what it finds is tried in tests/interop and tests/cli."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import factors, write_adapter
from pretended import pretend
from safetensors.numpy import load_file
from safetensors.numpy import save_file as numpy_file
from safetensors.torch import save_file
from tiny_models import write_base, write_tuned
from torch import bfloat16, randn

import adapterops as ao
from adapterops.arrays.device import device
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.operations import verifying
from adapterops.operations.verifying import Verification, comparison, verify
from adapterops.quant.blocks import Nearest
from adapterops.storage.outputs import MANIFEST


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


@pytest.mark.parametrize("dtype", ["F16", "F32"])
@pytest.mark.parametrize("transposed", [False, True])
def test_an_entry_at_a_threshold_may_be_that_of_another_processor(dtype: str, transposed: bool, tmp_path: Path) -> None:
    """Nobody calls it wrong: not the first judge, nor the second, nor the merge identity. What else differs is found."""
    random, kinds = np.random.default_rng(2), {"F16": np.float16, "F32": np.float32}
    shape = (384, 200) if transposed else (200, 384)
    name = "h.0.attn.c_attn.weight" if transposed else "m.weight"
    module, kind = name.removesuffix(".weight"), kinds[dtype]
    W = (0.02 * random.standard_normal(shape)).astype(kind)
    factors = [
        [0.1 * random.standard_normal(size).astype(np.float32) for size in ((200, 8), (8, 384))] for _ in range(3)
    ]
    adapter = ao.merge(
        [ao.Adapter.of({module: ao.LowRank(*each)}) for each in factors], "ties", density=0.3, scale="sum"
    )
    (tmp_path / "base").mkdir()
    if transposed:
        (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt2", "n_layer": 1}')
    numpy_file({name: W}, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    base = ao.open_checkpoint(tmp_path / "base")
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "out")
    (tmp_path / "out" / MANIFEST).unlink()

    kept = []
    for B, A in factors:
        x = B @ A
        kept.append(np.where(np.abs(x) >= np.sort(np.abs(x), axis=None)[-int(0.3 * x.size)], x, 0))
    sizes = np.where(kept[0] == 0, np.inf, np.abs(kept[0]))
    place = np.unravel_index(np.argmin(sizes), sizes.shape)
    others = [float(each[place]) for each in kept[1:]]
    without = sum(each for each in others if each * sum(others) > 0)
    path = tmp_path / "out" / "model.safetensors"
    fused = load_file(path)[name]
    place = place[::-1] if transposed else place

    def found(*changed: tuple[Any, float]) -> Verification:
        values = fused.copy()
        for where, value in changed:
            values[where] = value
        numpy_file({name: values}, path, {"format": "pt"})
        return verify(ao.open_checkpoint(tmp_path / "out"), base, adapter)

    dropped = place, W[place] + kind(without)
    assert dropped[1] != fused[place]
    verification = found(dropped)
    assert verification.problems == []
    assert verification.modules[module].near == 1
    assert verification.modules[module].identity <= 1
    assert not found((place, W[place] + kind(0.5 * without + 0.01))).ok
    elsewhere = (5, 7) if place != (5, 7) else (6, 7)
    wrong = found(dropped, (elsewhere, float(fused[elsewhere]) + 0.01))
    assert [problem.what for problem in wrong.problems] == [f"1 of 76800 entries are not W0 + ΔW of {module}"]


def test_on_a_device_sums_have_the_bits_that_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those are a processor's, whatever `write_shards` was told."""
    base, adapter = ao.open_checkpoint(write_base(tmp_path / "base")), ao.open_adapter(write_tuned(tmp_path / "a"))
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "out")
    pretend(monkeypatch)
    ways, real = [], verifying.check_tensor
    monkeypatch.setattr(verifying, "check_tensor", lambda *given: ways.append(device()) or real(*given))
    assert verify(ao.open_checkpoint(tmp_path / "out"), base, adapter, how=Execution(1, "cuda")).ok
    assert set(ways) == {None}
