"""Memory that the steps of a loop use again: fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor

LINE = 64
"""Bytes of a line of the cache, at which memory begins."""


class Scratch:
    """Memory by what it is for. What was in it is lost when it is asked for again for the same use, in whatever shape.

    Args:
        pinned: the system may not move it, so that a GPU can copy from it and to it while a thread does something else.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._bytes: dict[tuple[str, object], Any] = {}
        self._views: dict[tuple[object, ...], Any] = {}

    def array(self, use: str, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """A contiguous array with anything in it."""
        import numpy as np  # here, so that headers can be read without it

        key = use, None, tuple(shape), dtype
        if key not in self._views:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            self._views[key] = self._memory(use, None, size, aligned)[:size].view(dtype).reshape(shape)
        view: NDArray[Any] = self._views[key]
        return view

    def __call__(
        self, use: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None = None
    ) -> Tensor:
        """A contiguous tensor with anything in it; on the CPU, unless told otherwise."""
        where = device or "cpu"
        key = use, where, tuple(shape), dtype
        if key not in self._views:
            size = math.prod(shape) * dtype.itemsize
            self._views[key] = (
                self._memory(use, where, size, lambda size: self._on(device, size))[:size].view(dtype).view(shape)
            )
        view: Tensor = self._views[key]
        return view

    def _memory(self, use: str, device: object, size: int, new: Any) -> Any:
        memory = self._bytes.get((use, device))
        if memory is None or len(memory) < size:
            self._views = {key: view for key, view in self._views.items() if key[:2] != (use, device)}
            memory = self._bytes[use, device] = new(size)
        return memory

    def _on(self, device: torch.device | None, size: int) -> Tensor:
        import torch

        return torch.empty(size, dtype=torch.uint8, device=device, pin_memory=self._pinned)


def aligned(size: int) -> NDArray[np.uint8]:
    """New memory that begins at a line of the cache."""
    import numpy as np

    memory = np.empty(size + LINE, np.uint8)
    return memory[-memory.__array_interface__["data"][0] % LINE :]


class _Own(threading.local):
    def __init__(self) -> None:
        self.scratch = Scratch()
        self.spare: NDArray[np.uint8] | None = None


_OWN = _Own()


def scratch() -> Scratch:
    """This thread's, for what no function hands out."""
    return _OWN.scratch


@contextmanager
def lent(shape: Sequence[int], dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """A large array with anything in it, whose memory this thread uses again after the block, until its work ends: what is
    given back to the system is cleared, page by page, when it is taken again.
    """
    import numpy as np

    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory, _OWN.spare = _OWN.spare, None  # a block inside of this one takes its own
    if memory is None or len(memory) < size:
        memory = None  # before there is more
        memory = aligned(size)
    try:
        yield memory[:size].view(dtype).reshape(shape)
    finally:
        _OWN.spare = memory


def forget() -> None:
    """Keep no memory for what this thread may do next: its work has ended."""
    _OWN.spare = None
