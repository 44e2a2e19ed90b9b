"""Memory is short, or runs out in a worker."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from corpus import tree
from interrupted import CLEAN, COMMAND, Fuse, names, remove
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.updates import survival

LITTLE_MEMORY = """
import os, resource
real = os.posix_fallocate
def limited(*arguments):
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + ({} << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.posix_fallocate = real
    real(*arguments)
os.posix_fallocate = limited
"""
"""From when on the work begins: imports and plans have what they need."""


def test_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base", out=1500, into=1000)
    write_tuned(tmp_path / "a", out=1500, into=1000)
    before, codes = tree(tmp_path), []
    for megabytes in (0, 16, 24, 28, 32, 1024):
        ended = Command(COMMAND, setup=LITTLE_MEMORY.format(megabytes)).end()
        codes.append(ended.code)
        assert "Traceback" not in ended.err, f"with {megabytes} MB"
        killed = (
            ended.code < 0 or "OpenBLAS error" in ended.err
        )  # libraries end the process where they have no other way
        assert ended.code in (0, 7) or killed
        if ended.code == 0:
            remove(tmp_path / "out")
        elif ended.code == 7:
            assert "memory" in ended.err
            assert names(tmp_path) == CLEAN
        assert {name: value for name, value in tree(tmp_path).items() if not name.startswith(".")} == before
    assert codes[0] == 7
    assert codes[-1] == 0
    assert names(tmp_path) == CLEAN


def test_the_first_thing_that_a_worker_computes_takes_one_thread() -> None:
    """Else libraries start threads of their own, which end the process where they cannot,
    and the bits depend on the machine.
    """
    X = torch.randn(768, 768, generator=torch.Generator().manual_seed(0))
    (found,) = local.run(torch.linalg.svdvals, [X], how=Execution(1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = torch.linalg.svdvals(X)
    torch.set_num_threads(threads)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
    ids=["python", "torch's tensors", "torch", "threads"],
)
@pytest.mark.parametrize("nth", [1, 6])
def test_memory_runs_out_in_a_worker(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, error: Exception, nth: int
) -> None:
    real, calls = survival.survival, itertools.count(1)

    def fails(*arguments: Any) -> Any:
        if next(calls) == nth:
            raise error
        return real(*arguments)

    monkeypatch.setattr(survival, "survival", fails)
    code, shown = fuse()
    assert code == 7
    assert "not enough memory" in shown
    assert shown.count("error:") == 1
    assert "Traceback" not in shown
    assert names(place) == CLEAN


LOOKING = [
    ["show", "a", "--spectrum"],
    ["compare", "a", "b"],
    ["report", "a", "--base", "base", "-o", "page.html"],
    ["report", "a", "b", "-o", "page.html"],
    ["diagnose", "fused", "--base", "base", "--adapter", "a"],
    ["diagnose", "fused", "--base", "base"],
    ["verify", "fused"],
    ["verify", "fused", "--base", "base", "--adapter", "a", "--made-by", "peft"],
]
MAKING = [
    ["truncate", "a", "--rank", "1"],
    ["merge", "a", "b", "--ties"],
    ["convert", "a", "--to", "kohya"],
    ["fuse", "base", "a"],
    ["unfuse", "fused", "a"],
    ["extract", "fused", "--base", "base", "--rank", "1"],
    ["quantize", "base", "--to", "int8"],
]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    write_tuned(tmp_path / "b", seed=2)
    assert run(["fuse", "base", "a", "-o", "fused"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    "command", [*LOOKING, *([*each, "-o", "out"] for each in MAKING)], ids=lambda command: " ".join(command)
)
def test_every_command_that_reads_weights_says_how_much_memory_it_takes(
    models: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Less is refused, with what would do; with that it does."""
    before = names(models)
    assert run([*command, "--memory", "0.1kB"]) == 7
    least = re.search(r"the least that works is --memory (\d+kB)", capsys.readouterr().err)
    assert least
    assert names(models) == before
    assert run([*command, "--memory", least[1], "--workers", "3"]) == 0
