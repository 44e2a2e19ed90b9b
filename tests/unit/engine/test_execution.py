"""Workers, memory and shares: how work is done."""

from __future__ import annotations

import os

import pytest
from pretended import MEMORY, pretend

from adapterops.engine.execution import Execution, Share, check_device, default_workers, device_name
from adapterops.errors import OptionError, ResourceError


@pytest.mark.parametrize(("workers", "device"), [(0, "cpu"), (-1, "cpu"), (1, "tpu")])
def test_what_makes_no_sense(workers: int, device: str) -> None:
    with pytest.raises(OptionError, match=r"--(workers|device) must be"):
        Execution(workers, device)


def test_memory_is_a_number_of_bytes() -> None:
    with pytest.raises(OptionError, match="memory must be a whole number of bytes, got '4GB'"):
        Execution(memory="4GB")  # type: ignore[arg-type]  # as on the command line


def test_as_many_workers_as_memory_allows() -> None:
    how = Execution(8, memory=100)
    assert how.within(lambda workers: 30 * workers).threads == 3
    assert how.within(lambda workers: workers).threads == 8
    assert Execution(8).within(lambda workers: 10**12) == Execution(8)
    with pytest.raises(ResourceError, match="allows 100 bytes, and one worker takes 2500") as caught:
        how.within(lambda workers: 2500)
    assert caught.value.hint == "the least that works is --memory 3kB"


def test_processors_are_counted_and_no_more_than_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    assert default_workers() == Execution().threads == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    assert Execution().threads == 3


def test_shares_are_counted_from_one() -> None:
    assert [str(Share.read(text)) for text in ("1/8", "8/8")] == ["1/8", "8/8"]
    for text in ("0/8", "9/8"):
        with pytest.raises(OptionError, match="is not one of 8 parts"):
            Share.read(text)
    for text in ("3", "3/", "a/b", "-1/2"):
        with pytest.raises(OptionError, match="expected K/N"):
            Share.read(text)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_device(Execution())
    with pytest.raises(ResourceError, match="finds no GPU"):
        check_device(Execution(device="cuda"))


def test_a_gpu_that_computes_with_less_than_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    pretend(monkeypatch)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    with pytest.raises(OptionError, match="TF32"):
        check_device(Execution(device="cuda"))


def test_a_gpu_may_take_as_much_memory_as_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = pretend(monkeypatch)
    check_device(Execution(device="cuda"))
    assert gpu.fraction == 1
    check_device(Execution(device="cuda", memory=MEMORY // 4))
    assert gpu.fraction == 0.25
    check_device(Execution(device="cuda", memory=2 * MEMORY))
    assert gpu.fraction == 1
    check_device(Execution(device="cuda", memory=MEMORY // 2))
    check_device(Execution(device="cuda"))
    assert gpu.fraction == 1, "what is allowed is that of this work, not of the last one"
    assert (device_name("cpu"), device_name("cuda")) == ("", "a GPU that is not there")
