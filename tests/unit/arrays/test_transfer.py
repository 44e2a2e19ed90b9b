"""On a processor nothing travels; a thread has one way to a device; and a device that is not there gives the same bytes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import factors, made, write_adapter
from pretended import Gpu, pretend
from tiny_models import write_base

from adapterops.arrays import transfer as module
from adapterops.arrays.transfer import Transfer, transfer
from adapterops.cli.main import run


def test_on_a_processor_numbers_stay_where_they_are() -> None:
    way, values = transfer("cpu"), np.arange(4.0)
    with way.working():
        there = way.there(values)
        values[0] = 9
        assert float(there[0]) == 9
        assert way.back({"codes": there})["codes"] is there


def test_each_thread_has_its_own() -> None:
    mine, theirs = transfer("cpu"), []
    thread = threading.Thread(target=lambda: theirs.extend([transfer("cpu"), transfer("cpu")]))
    thread.start()
    thread.join()
    assert transfer("cpu") is mine
    assert theirs[0] is theirs[1] is not mine


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return pretend(monkeypatch)


def test_what_comes_back_is_there_when_it_is_given(gpu: Gpu) -> None:
    way = Transfer("cuda")
    with way.working():
        there = way.there(np.arange(6, dtype=np.float32))
        found = way.back({"codes": 2 * there, "rest": there[:2]})
    assert found["codes"].tolist() == [0, 2, 4, 6, 8, 10]
    assert found["rest"].tolist() == [0, 1]
    assert (gpu.sent, gpu.returned) == (24, 32)


def test_what_is_sent_is_not_overwritten_on_its_way(gpu: Gpu) -> None:
    way = Transfer("cuda")
    with way.working():
        one, other = (way.there(np.full(3, number)) for number in (1.0, 2.0))
    assert (one.tolist(), other.tolist()) == ([1, 1, 1], [2, 2, 2])


def test_what_is_large_takes_no_pinned_memory(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PINNED", 16)
    way = Transfer("cuda")
    with way.working():
        for values in (np.arange(2.0), np.arange(8.0)):
            assert way.fetch(2 * way.there(values), np.empty(len(values))).tolist() == (2 * values).tolist()
    assert gpu.returned == 16


def test_what_is_read_too_early_is_found(gpu: Gpu) -> None:
    """By the device that is not there, or the tests with it would find nothing."""
    way = Transfer("cuda")
    with way.working():
        late = torch.zeros(2).copy_(way.there(np.ones(2, np.float32)), non_blocking=True)
        assert late.tolist() != [1, 1]
        way.back({})
    assert late.tolist() == [1, 1]
    with pytest.raises(AssertionError, match="outside of the stream"):
        way.there(np.ones(2, np.float32))


@pytest.mark.parametrize(
    "command",
    [
        ["quantize", "base", "--to", "nf4"],
        ["quantize", "base", "--to", "nf4", "--double-quant"],
        ["quantize", "base", "--to", "fp4"],
        ["quantize", "base", "--to", "int8"],
        ["fuse", "base", "a", "--quantize", "nf4"],
        ["fuse", "base-nf4", "a", "--rounding", "stochastic", "--seed", "3", "--accept-loss"],
    ],
    ids=" ".join,
)
def test_bytes_of_a_device_are_those_of_the_processor(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = [f"model.layers.{layer}.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]
    write_base(tmp_path / "base", out=64, into=96)
    write_adapter(tmp_path / "a", factors(modules, out=64, into=96, seed=1))
    monkeypatch.chdir(tmp_path)
    assert run(["quantize", "base", "-o", "base-nf4"]) == 0
    assert run([*command, "-o", "here"]) == 0
    with monkeypatch.context() as patch:
        gpu = pretend(patch)
        assert run([*command, "-o", "there", "--device", "cuda", "--workers", "3"]) == 0
    assert gpu.sent > 0
    assert gpu.returned > 0
    assert not any(gpu.streams.values())
    assert made(tmp_path / "here") == made(tmp_path / "there")
