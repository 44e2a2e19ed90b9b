from __future__ import annotations

import threading
import tracemalloc

import torch
from torch import Tensor

from adapterops.arrays.scratch import Scratch, forget, lent, scratch
from adapterops.engine.execution import Execution
from adapterops.engine.local import run


def test_the_same_use_is_the_same_memory_whatever_the_shape() -> None:
    memory = Scratch()
    wide = memory("sum", (4, 6), torch.float32)
    assert memory("sum", (4, 6), torch.float32) is wide
    assert memory("sum", (3, 2), torch.float64).data_ptr() == wide.data_ptr()
    assert memory("sum", torch.Size((24,)), torch.float32).fill_(7).sum() == wide.sum() == 7 * 24


def test_other_uses_are_other_memory() -> None:
    memory = Scratch()
    one, other = memory("one", (5,), torch.int32).fill_(1), memory("other", (5,), torch.int32).fill_(2)
    assert one.tolist() == [1] * 5
    assert other.tolist() == [2] * 5


def test_it_grows_and_what_was_handed_out_stays_whole() -> None:
    memory = Scratch()
    small = memory("sum", (2,), torch.float32).fill_(3)
    large = memory("sum", (100,), torch.float32).fill_(4)
    assert small.tolist() == [3, 3]
    assert memory("sum", (2,), torch.float32).data_ptr() == large.data_ptr()


def test_nothing_takes_no_memory() -> None:
    assert Scratch()("sum", (0, 3), torch.bfloat16).shape == (0, 3)


def test_each_thread_has_its_own() -> None:
    seen: list[Tensor] = []
    mine = scratch()("sum", (3,), torch.float32).fill_(1)
    thread = threading.Thread(target=lambda: seen.append(scratch()("sum", (3,), torch.float32).fill_(2)))
    thread.start()
    thread.join()
    assert mine.tolist() == [1] * 3
    assert seen[0].tolist() == [2] * 3


def test_what_was_lent_is_lent_again_and_a_block_inside_has_its_own() -> None:
    forget()
    with lent((50, 20), "float32") as outer:
        outer[:] = 1
        with lent((50, 20), "float32") as inner:
            inner[:] = 2
        assert outer.sum() == 1000
    place = outer.ctypes.data
    with lent((10, 3), "float64") as smaller:
        assert (smaller.ctypes.data, smaller.shape, smaller.dtype) == (place, (10, 3), "float64")
    with lent((1000, 20), "float32") as larger:
        larger[:] = 3
    with lent((50, 20), "float32") as again:
        assert again.ctypes.data == larger.ctypes.data


def test_nothing_stays_of_what_was_lent_when_work_has_ended() -> None:
    tracemalloc.start()
    try:

        def work(item: int) -> float:
            with lent((1 << 20, item), "float32") as memory:
                return float(memory.size)

        assert list(run(work, [1, 2, 3], how=Execution(2))) == [1 << 20, 2 << 20, 3 << 20]
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
