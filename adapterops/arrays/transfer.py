"""Numbers on their way to the device where they are computed with, and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array

PINNED = 1 << 25
"""Bytes that are copied by way of pinned memory at most: it is memory that the system can use for nothing else."""


class Transfer:
    """A thread's way to a device. What comes back is good until something of the same role comes back again.

    On a GPU each thread has a stream and pinned memory of its own: while one waits for its copies and kernels, others
    read, add and write.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)
        self._stream = None if self.device.type == "cpu" else torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # it is not annotated
        self._memory = Scratch(pinned=True)
        self._sending = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """What is computed on the device here follows what was sent."""
        import torch

        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def there(self, values: Array) -> Tensor:
        """Values on the device, or soon."""
        import torch

        here = torch.from_numpy(values)
        if self._stream is None:
            return here
        if values.nbytes > PINNED:
            return here.to(self.device)
        if self._sending:  # what was sent before may still be read from the same memory
            self._wait()
        self._sending = True
        return self._memory("there", here.shape, here.dtype).copy_(here).to(self.device, non_blocking=True)

    def back(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the device, by role, when all that was to be done is done."""
        if self._stream is None:
            return dict(tensors)
        found = {
            role: self._memory(role, each.shape, each.dtype).copy_(each, non_blocking=True)
            for role, each in tensors.items()
        }
        self._wait()
        return found

    def fetch(self, tensor: Tensor, out: Array) -> Array:
        """The numbers of a tensor of the device in `out`, when all that was to be done is done."""
        import torch

        into = torch.from_numpy(out)
        if self._stream is None or out.nbytes > PINNED:
            into.copy_(tensor)
        else:
            into.copy_(self.back({"back": tensor})["back"])
        return out

    def _wait(self) -> None:
        assert self._stream is not None
        self._stream.synchronize()
        self._sending = False


class _Own(threading.local):
    def __init__(self) -> None:
        self.transfers: dict[str, Transfer] = {}


_OWN = _Own()


def transfer(device: str) -> Transfer:
    """This thread's way to a device."""
    if device not in _OWN.transfers:
        _OWN.transfers[device] = Transfer(device)
    return _OWN.transfers[device]
