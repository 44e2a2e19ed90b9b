from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from adapterops.arrays.parallel import in_parallel
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, ResourceError


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item

    seen: list[tuple[int, int]] = []
    assert list(
        local.run(
            slow_at_first, range(20), how=Execution(workers, progress=lambda done, total: seen.append((done, total)))
        )
    ) == list(range(20))
    assert seen == [(done, 20) for done in range(1, 21)]


def test_this_thread_is_one_of_the_workers() -> None:
    def where(_: int) -> int:
        time.sleep(0.002)
        return threading.get_ident()

    assert set(local.run(where, range(5), how=Execution(1))) == {threading.get_ident()}
    assert threading.get_ident() in (threads := set(local.run(where, range(40), how=Execution(3))))
    assert len(threads) <= 3


@pytest.mark.parametrize(
    ("first", "each", "quick", "alone"), [(0.0, 0.0, 1.0, True), (0.0, 0.006, 0.001, False), (0.4, 0.0, 1.0, False)]
)
def test_quick_items_are_done_by_this_thread(
    monkeypatch: pytest.MonkeyPatch, first: float, each: float, quick: float, alone: bool
) -> None:
    """Others begin when items take longer, or the first one much longer."""
    monkeypatch.setattr(local, "QUICK", quick)
    monkeypatch.setattr(local, "FIRST", 0.1)

    def where(item: int) -> int:
        time.sleep(each if item else first)
        return threading.get_ident()

    threads = set(local.run(where, range(60), how=Execution(3)))
    assert (threads == {threading.get_ident()}) is alone


@pytest.mark.parametrize("items", [1, 2])
def test_a_worker_that_has_nothing_to_begin_helps_another(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first item is done by both, when the other one is."""
    both, done = threading.Barrier(2), threading.Event()

    def part(number: int) -> int:
        both.wait(timeout=10)
        return threading.get_ident()

    def work(item: int) -> set[int]:
        if item < items - 1:
            done.set()
            return set()
        assert items == 1 or done.wait(timeout=10)
        return set(in_parallel(part, range(2)))

    monkeypatch.setattr(local, "default_workers", lambda: 2)
    *_, last = local.run(work, range(items), how=Execution(2))
    assert len(last) == 2


def test_there_are_no_more_threads_than_items_and_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "default_workers", lambda: 2)
    for items in (1, 3):
        counts = list(local.run(lambda _: threading.active_count(), range(items), how=Execution(100_000)))
        assert max(counts) <= threading.active_count() + max(items, 2) - 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_one_that_helps_ends_with_the_work(workers: int) -> None:
    """Also where what it waits for is stopped from outside."""

    def stopped(item: int) -> None:
        time.sleep(0.002)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        list(local.run(stopped, range(40), how=Execution(workers)))
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_item_is_done_once_and_a_failure_comes_in_its_turn(workers: int) -> None:
    started = []

    def fails(item: int) -> int:
        started.append(item)
        time.sleep(0.001 * (item % 3))
        if item == 30:
            raise ValueError(item)
        return item

    results = local.run(fails, range(100), how=Execution(workers))
    seen = [next(results) for _ in range(30)]
    with pytest.raises(ValueError, match="30"):
        next(results)
    assert seen == list(range(30))
    assert len(started) == len(set(started))
    assert set(range(31)) <= set(started)


def test_kernels_use_one_thread_and_the_setting_comes_back() -> None:
    before = torch.get_num_threads()
    assert list(
        local.run(lambda _: torch.get_num_threads(), range(2), needs_torch=lambda item: True, how=Execution(2))
    ) == [
        1,
        1,
    ]
    assert torch.get_num_threads() == before


def test_blas_has_one_thread_in_workers_and_as_many_as_before_afterwards() -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in local._numpy().info() if each["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        assert threads() == {2}
        assert list(local.run(lambda _: threads(), range(3), how=Execution(workers=2))) == [{1}, {1}, {1}]
        assert threads() == {2}


@pytest.mark.parametrize(
    ("rows", "rank", "width"),
    [(585, 16, 896), (107, 16, 4864), (4096, 64, 128), (3, 1, 7), (1, 8, 4096), (600, 400, 512)],
)
def test_the_bits_of_a_product_in_a_worker_do_not_depend_on_the_threads_of_blas(
    rows: int, rank: int, width: int
) -> None:
    random = np.random.default_rng(0)
    B, A = random.standard_normal((rows, rank), np.float32), random.standard_normal((rank, width), np.float32)
    results = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="blas"):
            results += local.run(lambda _: B @ A, [None])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_nothing_is_started_after_an_exception() -> None:
    started, before = [], threading.active_count()

    def fails(item: int) -> None:
        started.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(local.run(fails, range(100), how=Execution(2)))
    assert len(started) <= 4
    assert threading.active_count() <= before


def test_of_large_results_not_all_are_computed_ahead() -> None:
    started: list[int] = []
    results = local.run(started.append, range(100), size=lambda item: 7, how=Execution(2))
    next(results)
    time.sleep(0.05)
    assert len(started) <= 1 + 2 * local.AHEAD
    results.close()


@pytest.mark.parametrize("size", [None, lambda item: 1000 if item % 10 == 0 else 1], ids=["any", "sizes"])
def test_nobody_waits_while_another_is_at_a_large_one(size: Callable[[int], int] | None) -> None:
    done, others = [], threading.Event()

    def large_or_small(item: int) -> int:
        if item == 0:
            assert others.wait(10)
        done.append(item)
        if len(done) == 19:
            others.set()
        return item

    assert list(local.run(large_or_small, range(20), size=size, how=Execution(2))) == list(range(20))


def test_one_result_of_any_size_is_always_computed() -> None:
    sizes = [0, 9, 1, 0, 100, 1]
    for workers in (1, 3):
        found = local.run(lambda item: item, range(6), size=sizes.__getitem__, how=Execution(workers))
        assert list(found) == list(range(6))
    assert list(local.run(str, range(2), size=lambda item: 0, how=Execution(2))) == ["0", "1"]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_items_without_torch_among_others(workers: int) -> None:
    started = []

    def double(item: int) -> int:
        started.append(item)
        return 2 * item

    results = local.run(double, range(60), needs_torch=lambda item: item % 3 != 0, how=Execution(workers))
    assert list(results) == [2 * item for item in range(60)]
    assert sorted(started) == list(range(60))


WITHOUT_TORCH = """
import sys, threading, time
from adapterops.arrays.parallel import in_parallel
from adapterops.engine import local
from adapterops.engine.execution import Execution

def where(item):
    if item == 4:
        import torch
    return "torch" in sys.modules and hasattr(sys.modules["torch"], "get_num_threads"), threading.get_ident()

assert not any(torch for torch, _ in local.run(where, range(4), how=Execution(2)))
assert "torch" not in sys.modules
found = list(local.run(where, range(8), needs_torch=lambda item: item == 4, how=Execution(1)))
assert found[4][0]
assert any(thread != threading.get_ident() for _, thread in found), "nobody worked while torch was imported"
"""


def test_torch_is_imported_if_an_item_needs_it_and_meanwhile_others_are_done() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_workers_is_refused() -> None:
    with pytest.raises(OptionError):
        list(local.run(str, [1], how=Execution(0)))


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_items_of_lanes_are_done_once_and_told_as_they_are_done(workers: int) -> None:
    began: list[int] = []

    def slow(item: int) -> int:
        began.append(item)
        time.sleep(0.001)
        return item

    seen: list[int] = []
    results = local.run(
        slow,
        range(60),
        needs_torch=lambda item: item % 7 != 0,
        lane=lambda item: item // 20,
        how=Execution(workers, progress=lambda done, _: seen.append(done)),
    )
    assert sorted(results) == sorted(began) == list(range(60))
    assert seen == list(range(1, 61))


def test_a_lane_is_done_in_its_order_by_one_thread_and_from_its_end_by_another() -> None:
    began: dict[int, int] = {}
    order: list[int] = []

    def slow(item: int) -> int:
        began[item] = threading.get_ident()
        order.append(item)
        time.sleep(0.01 if item < 30 else 0.001)
        return item

    list(local.run(slow, range(40), lane=lambda item: item < 30, how=Execution(2)))
    owner = began[0]
    helped = [item for item in order if item < 30 and began[item] != owner]
    assert helped == sorted(helped, reverse=True)
    assert helped[0] == 29
    assert [item for item in order if began[item] == owner and item < 30] == list(range(30 - len(helped)))
    assert [item for item in order if item >= 30] == list(range(30, 40))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_with_lanes_the_first_failure_is_raised_when_what_was_begun_is_done(workers: int) -> None:
    def fails(item: int) -> int:
        time.sleep(0.001)
        if item in (5, 25):
            raise ValueError(item)
        return item

    before = threading.active_count()
    with pytest.raises(ValueError, match=r"^5$"):
        list(local.run(fails, range(40), lane=lambda item: item // 20, how=Execution(workers)))
    assert threading.active_count() <= before


def test_a_torch_that_another_thread_is_importing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("torch")  # it has no threads to set yet
    half.__spec__ = ModuleSpec("torch", None)
    half.__spec__._initializing = True  # as the import system marks it
    monkeypatch.setitem(sys.modules, "torch", half)
    assert list(local.run(lambda item: item + 1, [1, 2, 3], how=Execution(2))) == [2, 3, 4]


@pytest.mark.parametrize(("memory", "workers"), [(None, 4), (1000, 4), (450, 4), (449, 3), (150, 1)])
def test_workers_are_as_many_as_memory_allows(memory: int | None, workers: int) -> None:
    how = Execution(4, memory=memory).within(lambda workers: 50 + 100 * workers)
    assert (how.threads, how.memory) == (workers, memory)


def test_too_little_memory_is_an_error_that_names_the_least() -> None:
    with pytest.raises(ResourceError) as caught:
        Execution(4, memory=149_999).within(lambda workers: 50_000 + 100_000 * workers)
    assert "--memory 150kB" in str(caught.value.hint)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": -1}, {"device": "tpu"}], ids=str)
def test_an_execution_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Execution(**wrong)
