"""Memory that the steps of a loop use again: fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Scratch:
    """Memory by what it is for. What was in it is lost when it is asked for again for the same use, in whatever shape."""

    def __init__(self) -> None:
        self._bytes: dict[tuple[str, torch.device], Tensor] = {}
        self._views: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, use: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        """A contiguous tensor with anything in it; on the CPU, unless told otherwise."""
        found = self._views.get((use, tuple(shape), dtype, device))
        return self._view(use, tuple(shape), dtype, device) if found is None else found

    def _view(self, use: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | None) -> Tensor:
        import torch

        where = device or torch.device("cpu")
        size, memory = math.prod(shape) * dtype.itemsize, self._bytes.get((use, where))
        if memory is None or len(memory) < size:
            self._views = {key: view for key, view in self._views.items() if key[0] != use}
            memory = self._bytes[use, where] = torch.empty(size, dtype=torch.uint8, device=where)
        view = self._views[use, shape, dtype, device] = memory[:size].view(dtype).view(shape)
        return view


class _Own(threading.local):
    def __init__(self) -> None:
        self.scratch = Scratch()


_OWN = _Own()


def scratch() -> Scratch:
    """This thread's, for what no function hands out."""
    return _OWN.scratch
