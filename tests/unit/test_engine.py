from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import torch

from adapterops import engine
from adapterops.errors import OptionError


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item

    seen: list[tuple[int, int]] = []
    assert list(engine.run(slow_at_first, range(20), workers=workers, progress=lambda done, total: seen.append((done, total)))) == list(
        range(20)
    )
    assert seen == [(done, 20) for done in range(1, 21)]


def test_this_thread_is_one_of_the_workers() -> None:
    def where(_: int) -> int:
        time.sleep(0.002)
        return threading.get_ident()

    assert set(engine.run(where, range(5), workers=1)) == {threading.get_ident()}
    assert threading.get_ident() in (threads := set(engine.run(where, range(40), workers=3)))
    assert len(threads) <= 3


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_item_is_done_once_and_a_failure_comes_in_its_turn(workers: int) -> None:
    started = []

    def fails(item: int) -> int:
        started.append(item)
        time.sleep(0.001 * (item % 3))
        if item == 30:
            raise ValueError(item)
        return item

    results = engine.run(fails, range(100), workers=workers)
    seen = [next(results) for _ in range(30)]
    with pytest.raises(ValueError, match="30"):
        next(results)
    assert seen == list(range(30))
    assert len(started) == len(set(started))
    assert set(range(31)) <= set(started)


def test_kernels_use_one_thread_and_the_setting_comes_back() -> None:
    before = torch.get_num_threads()
    assert list(engine.run(lambda _: torch.get_num_threads(), range(2), workers=2)) == [1, 1]
    assert torch.get_num_threads() == before


def test_nothing_is_started_after_an_exception() -> None:
    started, before = [], threading.active_count()

    def fails(item: int) -> None:
        started.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(engine.run(fails, range(100), workers=2))
    assert len(started) <= 2 * engine.AHEAD
    assert threading.active_count() <= before


def test_not_everything_is_computed_ahead() -> None:
    started = []
    results = engine.run(started.append, range(100), workers=2)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 2 * engine.AHEAD
    results.close()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_light_items_among_others(workers: int) -> None:
    started = []

    def double(item: int) -> int:
        started.append(item)
        return 2 * item

    results = engine.run(double, range(60), light=lambda item: item % 3 == 0, ahead=60, workers=workers)
    assert list(results) == [2 * item for item in range(60)]
    assert sorted(started) == list(range(60))


WITHOUT_TORCH = """
import sys, threading, time
from adapterops import engine

def where(item):
    if item == 4:
        import torch
    return "torch" in sys.modules and hasattr(sys.modules["torch"], "get_num_threads"), threading.get_ident()

assert not any(torch for torch, _ in engine.run(where, range(4), light=lambda item: True, workers=2))
assert "torch" not in sys.modules
found = list(engine.run(where, range(8), light=lambda item: item != 4, workers=1))
assert found[4][0]
assert any(thread != threading.get_ident() for _, thread in found), "nobody worked while torch was imported"
"""


def test_torch_is_imported_if_an_item_needs_it_and_meanwhile_others_are_done() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_workers_is_refused() -> None:
    with pytest.raises(OptionError):
        list(engine.run(str, [1], workers=0))
