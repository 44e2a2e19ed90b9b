"""An output is whole or absent, and what is opened and noted is what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from corpus import MODULES, factors, tree, write_adapter
from fused_models import (
    DTYPES,
    Folders,
    any_seed,
    few,
    save,
    write_pair,
)
from hypothesis import given
from safetensors.torch import save_file

from adapterops import open_adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.layouts import sharded
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.errors import IncompatibleError, InputError
from adapterops.operations.fusion import fuse
from adapterops.storage.strict import read_json

# 6.10: whole or absent


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("number", "kind"), [(float("nan"), InputError), (float("inf"), InputError), (65504.0, IncompatibleError)]
)
def test_a_weight_that_stops_the_work_leaves_nothing(
    tmp_path: Path, workers: int, number: float, kind: type[Exception]
) -> None:
    for last in ("layers.0.q_proj", "layers.1.q_proj"):
        folder = tmp_path / last
        write_pair(folder)
        generator = torch.Generator().manual_seed(1)
        weights = {f"model.{name}.weight": torch.randn(12, 8, generator=generator).half() for name in MODULES}
        weights[f"model.{last}.weight"][:] = number
        save_file(weights, folder / "base/model.safetensors")
        before = tree(folder)
        with pytest.raises(kind) as caught:
            save(
                fuse(open_checkpoint(folder / "base"), 10 * open_adapter(folder / "a")),
                folder / "out",
                Execution(workers, sync=False),
            )
        assert getattr(caught.value, "tensor", None) in (f"model.{last}.weight", last)
        assert tree(folder) == before
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "base"]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_at_any_point_leaves_no_output_and_the_next_run_makes_it(
    tmp_path: Path, workers: int, kind: type[BaseException]
) -> None:
    """After an interruption the next run may go on from there; its bytes are those of a run that nobody stopped."""
    write_pair(tmp_path)
    model = sharded(fuse(open_checkpoint(tmp_path / "base"), open_adapter(tmp_path / "a")), 200)
    save(model, tmp_path / "whole")
    before = {name: tree(tmp_path / name) for name in ("a", "base")}
    for resume in (True, False):
        for stop in (1, 3, 6):

            def progress(done: int, total: int, stop: int = stop) -> None:
                assert total == 6  # three weights, one copy, two files to hash
                if done == stop:
                    raise kind

            with pytest.raises(kind):
                save(model, tmp_path / "out", Execution(workers, progress=progress, sync=False))
            assert not (tmp_path / "out").exists()
            hidden = [path for path in tmp_path.iterdir() if path.name not in ("a", "b", "base", "whole")]
            assert len(hidden) <= (0 if kind is RuntimeError else 1)
            save(model, tmp_path / "out", Execution(workers, sync=False), resume=resume)
            assert tree(tmp_path / "out") == tree(tmp_path / "whole")
            assert {name: tree(tmp_path / name) for name in before} == before
            for path in (tmp_path / "out").iterdir():
                path.unlink()
            (tmp_path / "out").rmdir()
            assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "whole"]


KILLED = """
import os, signal, sys
from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.layouts import sharded
from adapterops.engine.execution import Execution
from adapterops.checkpoints.saving import save_checkpoint
from adapterops.operations.fusion import fuse
def progress(done, total):
    if done == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
model = sharded(fuse(open_checkpoint("base"), open_adapter("a")), 200)
save_checkpoint(model, "out", how=Execution(sync=False, progress=progress))
"""


@pytest.mark.parametrize("resume", [True, False])
def test_a_kill_at_any_point_leaves_no_output_and_the_next_run_makes_it(tmp_path: Path, resume: bool) -> None:
    write_pair(tmp_path)
    model = sharded(fuse(open_checkpoint(tmp_path / "base"), open_adapter(tmp_path / "a")), 200)
    save(model, tmp_path / "whole")
    before = {name: tree(tmp_path / name) for name in ("a", "base")}
    done = subprocess.run([sys.executable, "-c", KILLED, "2" if resume else "3"], cwd=tmp_path, check=False)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
    save(model, tmp_path / "out", resume=resume)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {name: tree(tmp_path / name) for name in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "out", "whole"]


# What is opened, and what is noted


@few
@given(any_seed)
def test_the_tensors_of_a_checkpoint_are_those_of_its_files(tmp_path_factory: Folders, seed: int) -> None:
    folder, generator = tmp_path_factory.mktemp("opened"), torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 4), "b": (5,), "c": (), "d": (2, 3, 4), "e": (0, 3), "f": (3, 0), "g": (0,), "h": (1, 1)}
    tensors = {
        f"{name}.{dtype}": torch.randn(shape, generator=generator).to(getattr(torch, FLOATS[dtype]))
        for name, shape in shapes.items()
        for dtype in DTYPES
    }
    save_file(tensors, folder / "model.safetensors")
    found = open_checkpoint(folder).tensors
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("base", [0.0, 2.0**70], ids=["zeros", "numbers whose squares do not fit float32"])
def test_what_is_noted_is_json_that_everybody_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], base: float
) -> None:
    module = "layers.0.q_proj"
    (tmp_path / "base").mkdir()
    save_file({f"{module}.weight": torch.full((12, 8), base).bfloat16()}, tmp_path / "base/model.safetensors")
    scaled = {
        name: tensor * (2.0**70 if base and "lora_B" in name else 1) for name, tensor in factors([module]).items()
    }
    write_adapter(tmp_path / "a", scaled)
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "--json", "-o", str(tmp_path / "out")]) == 0
    read_json(tmp_path / "out/adapterops.json")
    json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
