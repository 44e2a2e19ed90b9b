from __future__ import annotations

import threading

import torch
from torch import Tensor

from adapterops.arrays.scratch import Scratch, scratch


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
